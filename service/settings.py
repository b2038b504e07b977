"""What the service is told from outside: environment variables that begin with RAGNAROK_.

Knows which values are possible, and what they mean to the pipeline; not how anything is built of them.
"""

import difflib
import os
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from indexes import Method
from ragnarok.assemble import PipelineSettings
from ragnarok.errors import BadSetting
from ragnarok.generators import LocalOptions
from ragnarok.types import Mode
from rerank.icr import IcrOptions
from rerank.profile import read_profile

PREFIX = "RAGNAROK_"


class Settings(BaseSettings):
    """Every setting of the service; `RAGNAROK_` and the name in capitals is its environment variable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    index: str = Field(
        default="demo", min_length=1, description="Name or path of the index that is searched."
    )
    method: Method | None = Field(
        default=None,
        description="First stage: bm25, dense or hybrid; the best that the index has when not set.",
    )
    model: str = Field(
        default="smollm2-135m",
        min_length=1,
        description="Name, path or hub id of the model that re-ranks and answers.",
    )
    rerank: bool = Field(
        default=True, description="Whether the model's attention re-ranks what was retrieved."
    )
    mode: Mode | None = Field(
        default=None,
        description="late: passages are read alone and kept; joint: one prompt holds all. "
        "late where the model has a profile when not set.",
    )
    profile: Path | None = Field(
        default=None, description="Head profile (JSON); the one that comes with the model when not set."
    )
    first_stage: float | None = Field(
        default=None,
        ge=0,
        description="Weight of the first stage's rank against attention, 0 is attention alone; "
        "as the profile says, 1 in joint mode, when not set.",
    )
    depth: int = Field(
        default=20, ge=1, description="Passages that are retrieved and re-ranked for a question."
    )
    max_depth: int = Field(default=100, ge=1, description="The largest depth that a request may ask for.")
    rerank_tokens: int = Field(
        default=160, ge=1, description="Tokens of each passage that the re-ranker reads."
    )
    k1: float = Field(
        default=0.9, ge=0, description="BM25: how soon more of the same word counts no further."
    )
    b: float = Field(default=0.4, ge=0, le=1, description="BM25: how much longer passages are marked down.")
    passages: int = Field(default=5, ge=1, description="The best passages that an answer is written from.")
    passage_tokens: int = Field(
        default=256, ge=1, description="Tokens of each passage that an answer is written from."
    )
    max_tokens: int = Field(default=256, ge=1, description="Tokens of the longest answer.")
    max_body_bytes: int = Field(default=64 * 1024, ge=1, description="Bytes of the largest request body.")
    max_waiting: int = Field(
        default=32,
        ge=0,
        description="Requests that may wait while one is answered; more are refused with 429.",
    )

    def for_pipeline(self) -> PipelineSettings:
        """The part of the settings that the pipeline is made of."""
        return PipelineSettings(
            index=self.index,
            method=self.method,
            model=self.model,
            rerank=self.rerank,
            mode=self.mode,
            profile=None if self.profile is None else read_profile(self.profile),
            first_stage=self.first_stage,
            icr=IcrOptions(passage_tokens=self.rerank_tokens),
            generate=LocalOptions(
                passages=self.passages, passage_tokens=self.passage_tokens, max_tokens=self.max_tokens
            ),
            depth=self.depth,
            k1=self.k1,
            b=self.b,
        )


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{field.upper()}"


def load_settings() -> Settings:
    """The settings of the environment.

    Raises `BadSetting` with every value that cannot be, and for a variable that is nearly one of ours:
    a misspelt setting would otherwise go unnoticed. Other RAGNAROK_ variables belong to other rooms.
    """
    ours = [variable(field) for field in Settings.model_fields]
    for name in sorted(os.environ):
        if (
            name.startswith(PREFIX)
            and name not in ours
            and (near := difflib.get_close_matches(name, ours, 1, 0.9))
        ):
            raise BadSetting(f"{name} is no setting; did you mean {near[0]}?")
    try:
        settings = Settings()
    except ValidationError as error:
        wrong = [f"{variable(str(e['loc'][0]))}={e['input']!r}: {e['msg']}" for e in error.errors()]
        raise BadSetting("; ".join(wrong)) from None
    if settings.depth > settings.max_depth:
        raise BadSetting(
            f"{variable('depth')}={settings.depth} is over {variable('max_depth')}={settings.max_depth}; "
            "lower the one or raise the other"
        )
    return settings
