"""Groups of options that several commands take, and what the pipeline makes of them."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from ragnarok.cli.options import (
    MEMORY_BYTES,
    STORE_BYTES,
    Corpus,
    FirstStage,
    Generator,
    Heads,
    HoldingIndex,
    HostMemoryBytes,
    Int8,
    MemoryBytes,
    ModeName,
    OpenAIModel,
    OpenAITimeout,
    OpenAIUrl,
    ProfileFile,
    Redis,
    Store,
    StoreBytes,
    read_heads,
    read_openai,
)

if TYPE_CHECKING:
    from ragnarok.assemble import PipelineSettings
    from ragnarok.documents import StoreOptions
    from ragnarok.generators import OpenAIOptions
    from rerank.icr import IcrOptions


@dataclass(frozen=True, slots=True)
class Source:
    """Where the text of a run's passages is."""

    corpus: Corpus = None
    index: HoldingIndex = None

    def check(self, reading: str) -> None:
        """Refuse a run without text; `reading` says what needs it. Raises `BadParameter`."""
        if self.corpus is None and self.index is None:
            raise typer.BadParameter(f"give --corpus or --index: the run has docids, but {reading} text")


@dataclass(frozen=True, slots=True)
class Kept:
    """Where late mode keeps what it reads of passages beyond the process, and in how many bytes a number."""

    store: Store = None
    store_bytes: StoreBytes = STORE_BYTES
    redis: Redis = None
    int8: Int8 = False

    def options(self) -> "StoreOptions":
        """The store, not opened yet."""
        # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
        from ragnarok.documents import StoreOptions

        return StoreOptions(self.store, self.store_bytes, self.redis)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """How a model's attention re-ranks."""

    mode: ModeName = None
    profile: ProfileFile = None
    first_stage: FirstStage = None
    heads: Heads = None
    kept: Kept
    memory_bytes: MemoryBytes = MEMORY_BYTES
    host_memory_bytes: HostMemoryBytes = 0

    def settings(self, icr: "IcrOptions | None" = None) -> "PipelineSettings":
        """The settings of a pipeline that re-ranks so; `icr` says how joint mode reads.

        Raises `BadHeads` and `BadProfile`.
        """
        heads = read_heads(self.heads)
        # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
        from ragnarok.assemble import PipelineSettings
        from rerank.late.reranker import LateOptions
        from rerank.profile import read_profile

        made = PipelineSettings(
            mode="joint" if self.heads is not None and self.mode is None else self.mode,
            profile=None if self.profile is None else read_profile(self.profile),
            late=LateOptions(
                int8=self.kept.int8, memory=self.memory_bytes, host_memory=self.host_memory_bytes
            ),
            store=self.kept.options(),
            first_stage=self.first_stage,
        )
        return replace(made, icr=replace(icr or made.icr, heads=heads))


@dataclass(frozen=True, slots=True)
class Writing:
    """Who writes answers, and where the endpoint is that may."""

    generator: Generator = None
    openai_base_url: OpenAIUrl = ""
    openai_model: OpenAIModel = ""
    openai_timeout: OpenAITimeout = 60.0

    def endpoint(self) -> "OpenAIOptions | None":
        """The endpoint, if one is to answer. Raises `BadSetting`."""
        return read_openai(self.generator, self.openai_base_url, self.openai_model, self.openai_timeout)
