"""Settings of what a process does, and of who does the rest."""

from typing import Literal

from pydantic import BaseModel, Field, SecretStr, field_validator

from service.settings.values import check_url, split_list

Role = Literal["all", "retrieval", "rerank", "generation", "gateway"]
"""What a process does: everything, one of the three stages, or joining those that others do."""

STAGES = ("retrieval", "rerank", "generation")


class StageSettings(BaseModel):
    """The stages that are done here, and the services that do the others."""

    serve: Role = Field(
        default="all",
        description="What this process does: all; one stage (retrieval, rerank, generation) for others to "
        "ask; or gateway, which asks others for all three.",
    )
    retrieval_url: str | None = Field(
        default=None,
        description="Where the gateway, or a process that does all the rest, has passages retrieved: "
        "http://HOST:PORT, several with commas; Pyserini's REST server will do.",
    )
    rerank_url: str | None = Field(
        default=None, description="Where it has them re-ranked: http://HOST:PORT, several with commas."
    )
    generation_url: str | None = Field(
        default=None, description="Where it has questions answered: http://HOST:PORT, several with commas."
    )
    upstream_key: SecretStr | None = Field(
        default=None, description="API key that those services want, sent as Authorization: Bearer."
    )
    connect_seconds: float = Field(
        default=2.0, gt=0, description="Seconds in which one of those services must take a connection."
    )
    read_seconds: float = Field(
        default=60.0, gt=0, description="Seconds for which one of those services may say nothing."
    )

    @field_validator("retrieval_url", "rerank_url", "generation_url")
    @classmethod
    def _are_addresses(cls, value: str | None) -> str | None:
        for url in split_list(value):
            check_url(url)
        return value

    @field_validator("upstream_key")
    @classmethod
    def _is_header(cls, value: SecretStr | None) -> SecretStr | None:
        key = "" if value is None else value.get_secret_value()
        if not (key.isascii() and key.isprintable()):
            raise ValueError("no header can hold it; give it as it was made, without a line break")
        return value

    def urls(self, stage: str) -> list[str]:
        """The addresses of the services that do a stage (one of `STAGES`), none where this process does."""
        return split_list(getattr(self, f"{stage}_url"))

    def stages_here(self) -> list[str]:
        """The stages that this process does itself."""
        if self.serve in STAGES:
            return [self.serve]
        return [stage for stage in STAGES if self.serve == "all" and not self.urls(stage)]
