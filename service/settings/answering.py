"""Settings of answers: who writes them, from how much, and what a model that writes keeps in view."""

from typing import TYPE_CHECKING

from pydantic import BaseModel, Field, SecretStr

from ragnarok.types import GeneratorName

if TYPE_CHECKING:
    from ragnarok.generators import OpenAIOptions


class AnsweringSettings(BaseModel):
    """The generator, the endpoint that it may be, and the attention policy of a model here."""

    generator: GeneratorName | None = Field(
        default=None,
        description="local: the model writes; quote: the passages' own sentences; openai: a model behind an "
        "endpoint; by the model's size when not set.",
    )
    openai_base_url: str | None = Field(
        default=None,
        repr=False,
        description="openai: the endpoint, what /chat/completions is added to, such as "
        "http://localhost:8000/v1.",
    )
    openai_api_key: SecretStr | None = Field(
        default=None, description="openai: the endpoint's key; none for one that asks for none."
    )
    openai_model: str | None = Field(default=None, description="openai: the model's name at the endpoint.")
    openai_timeout: float = Field(
        default=60.0, gt=0, description="openai: seconds after which an answer that is not complete fails."
    )
    policy: str = Field(
        default="full",
        description="Attention policy of a model that writes, what it keeps in view: full, streaming, "
        "duo (needs a profile with gates) or razor (looks for its heads at the start).",
    )
    sparsity: float = Field(
        default=0.5, ge=0, le=1, description="duo: share of the KV heads that do not keep everything."
    )
    passages: int = Field(default=5, ge=1, description="The best passages that an answer is written from.")
    passage_tokens: int = Field(
        default=256, ge=1, description="Tokens of each passage that an answer is written from."
    )
    max_tokens: int = Field(default=256, ge=1, description="Tokens of the longest answer.")

    def for_openai(self) -> "OpenAIOptions | None":
        """The endpoint that answers, if one does. Raises `BadSetting`."""
        if self.generator != "openai":
            return None
        from ragnarok.generators import OpenAIOptions

        key = self.openai_api_key or SecretStr("")
        return OpenAIOptions(self.openai_base_url or "", self.openai_model or "", key, self.openai_timeout)
