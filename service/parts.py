"""What a process works with: the stages that it does itself, and those that it has done by others.

Knows settings and seams; nothing of HTTP.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from ragnarok.pipeline import Pipeline, close_parts
from service.clients import RemoteGenerator, RemoteReranker, RemoteRetriever, Upstream
from service.identity import subject_of
from service.library import Library, LibraryRetriever, open_library

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from ragnarok.rerankers import AttentionReranker, LateAttentionReranker
    from ragnarok.seams import Generator, Reranker, Retriever
    from ragnarok.types import Mode
    from rerank.model import Model
    from service.settings import Settings


@dataclass
class Parts:
    """What is open; None is what this process has no use for.

    `library` holds the indexes that are searched here, `modes` the ways in which is re-ranked here, the
    usual one first; `model` is shared by the stages that are done here. `depth` is how many hits a question
    is answered from. `identities` say, for each stage, what its results depend on beside the request, and
    None while that is not known; `upstreams` are the services that do stages for this process.
    """

    retriever: Retriever | None = None
    reranker: Reranker | None = None
    generator: Generator | None = None
    library: Library | None = None
    model: Model | None = None
    modes: dict[Mode, LateAttentionReranker | AttentionReranker] = field(default_factory=dict)
    depth: int = 20
    identities: dict[str, Callable[[], str | None]] = field(default_factory=dict)
    upstreams: list[Upstream] = field(default_factory=list)

    def identity(self, stage: str) -> str | None:
        """What a stage's results depend on beside the request; None where that is not known."""
        return self.identities[stage]() if stage in self.identities else None

    @property
    def pipeline(self) -> Pipeline | None:
        """The three stages joined, where all three are there."""
        if self.retriever is None or self.reranker is None or self.generator is None:
            return None
        return Pipeline(self.retriever, self.reranker, self.generator, depth=self.depth)

    def close(self) -> None:
        """Let go of models, files and connections."""
        close_parts(self.library, self.retriever, self.reranker, self.generator)


def parts_of(pipeline: Pipeline) -> Parts:
    """The parts of a pipeline that was made elsewhere."""
    return Parts(pipeline.retriever, pipeline.reranker, pipeline.generator, depth=pipeline.depth)


def build_parts(
    settings: Settings, loop: AbstractEventLoop, say: Callable[[str], None] = lambda _: None
) -> Parts:
    """Open what `settings` ask for and use it once, so that the first request is not the slow one.

    `loop` will ask the services of others, which is not done here: they may start later. `say` hears what is
    being done. Raises what opening indexes, loading a model and making a re-ranker and a generator raise.
    """
    parts = Parts(depth=settings.depth)
    with ExitStack() as failed:
        failed.callback(parts.close)
        _reach(parts, settings, loop)
        if here := settings.stages_here():
            _open(parts, settings, here, say)
        failed.pop_all()
    return parts


def _reach(parts: Parts, settings: Settings, loop: AbstractEventLoop) -> None:
    """The clients of the stages that others do."""

    def upstream(stage: str) -> Upstream:
        key = settings.upstream_key
        made = Upstream(
            stage,
            settings.urls(stage),
            loop,
            key="" if key is None else key.get_secret_value(),
            connect=settings.connect_seconds,
            read=settings.read_seconds,
            subject=subject_of(stage, settings.index),
        )
        parts.upstreams.append(made)
        parts.identities[stage] = made.known.agreed
        return made

    if settings.urls("retrieval"):
        parts.retriever = RemoteRetriever(upstream("retrieval"), settings.index, settings.method)
    if settings.urls("rerank"):
        parts.reranker = RemoteReranker(upstream("rerank"))
    if settings.urls("generation"):
        parts.generator = RemoteGenerator(upstream("generation"))


def _open(parts: Parts, settings: Settings, here: list[str], say: Callable[[str], None]) -> None:
    """The stages that are done here."""
    if "retrieval" in here:
        say(f"opening {', '.join(settings.served_indexes().values())}")
        parts.library = open_library(settings)
        parts.retriever = LibraryRetriever(parts.library)
        parts.library.warm()
        parts.identities["retrieval"] = partial(parts.library.identity, parts.library.first)
    if here == ["retrieval"]:
        return
    # Not at the top: it loads torch, which those who search or pass on have no use for.
    from service.local import Local, warm_up

    local = Local(settings, say)
    if "rerank" in here:
        parts.reranker = local.reranker()
        parts.modes = local.modes(parts.reranker)
        warm_up(parts.reranker, None)
        # Digests are made here once, where no request waits for them.
        parts.identities["rerank"] = partial(str, local.identity("rerank"))
    if "generation" in here:
        parts.generator = local.generator()
        warm_up(None, parts.generator)
        parts.identities["generation"] = partial(str, local.identity("generation"))
    parts.model = local.loaded
