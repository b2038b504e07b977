"""From settings to a working pipeline in this process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from indexes import Index, Method, open_index
from ragnarok.generators import LocalGenerator, LocalOptions, QuoteGenerator
from ragnarok.pipeline import Pipeline
from ragnarok.rerankers import EVIDENCE, AttentionReranker, KeepOrder, LateAttentionReranker
from ragnarok.seams import Generator, Reranker
from ragnarok.types import GeneratorName, Hit, Mode
from rerank.icr import IcrOptions, InContextReranker
from rerank.late.reranker import LateOptions, LateReranker
from rerank.model import Model, load_model
from rerank.profile import HeadProfile, shipped_profile

WRITES_FROM = 400_000_000
"""Parameters from which a model is left to write; smaller ones quote, for they write untruths."""


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """What a pipeline is made of.

    `index` is a name or path; `method` the first stage (None: the best the index has); `model` a name, path
    or hub id; `rerank` whether attention re-ranks at all; `mode` how (None: `late` if a head profile is given
    or comes with the model, otherwise `joint`), with `profile` and `late` for one and `icr` for the other;
    `first_stage` how much the first stage's rank weighs (None: as the profile says, or 1 in joint mode);
    `evidence` how many of the best hits late mode marks words in;
    `generator` how answers are made (None: `local`, which writes, if the model has `WRITES_FROM` parameters,
    and `quote` otherwise), with `generate` how it writes; `depth` the hits retrieved.
    """

    index: str = "demo"
    method: Method | None = None
    model: str = "smollm2-135m"
    rerank: bool = True
    mode: Mode | None = None
    profile: HeadProfile | None = None
    late: LateOptions = field(default_factory=LateOptions)
    first_stage: float | None = None
    evidence: int = EVIDENCE
    icr: IcrOptions = field(default_factory=lambda: IcrOptions(passage_tokens=160))
    generator: GeneratorName | None = None
    generate: LocalOptions = field(default_factory=LocalOptions)
    depth: int = 20
    k1: float = 0.9
    b: float = 0.4


class IndexRetriever:
    """An index of this machine as the first stage."""

    def __init__(self, index: Index, settings: PipelineSettings) -> None:
        """Search `index` with the method and parameters of `settings`."""
        self._index, self._settings = index, settings

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` hits of each query. Raises `SearchError` and `IndexBroken`."""
        chosen = self._settings
        return self._index.search(queries, k, method=chosen.method, k1=chosen.k1, b=chosen.b)


def build_reranker(model: Model, settings: PipelineSettings) -> Reranker:
    """The re-ranker that `settings` ask for. Raises `BadHeads` and `BadProfile`."""
    if not settings.rerank:
        return KeepOrder()
    profile = settings.profile or shipped_profile(model)
    if (settings.mode or ("late" if profile is not None and profile.signals else "joint")) == "late":
        late = LateReranker(model, profile, settings.late)
        return LateAttentionReranker(late, first_stage=settings.first_stage, evidence=settings.evidence)
    weight = 1.0 if settings.first_stage is None else settings.first_stage
    return AttentionReranker(InContextReranker(model, settings.icr), first_stage=weight)


def build_generator(model: Model, settings: PipelineSettings) -> Generator:
    """The generator that `settings` ask for, or the one that suits the model's size."""
    suited = "local" if model.parameters >= WRITES_FROM else "quote"
    if (settings.generator or suited) == "quote":
        return QuoteGenerator(model)
    return LocalGenerator(model, settings.generate)


def build_pipeline(settings: PipelineSettings, stage: Callable[[str], None] = lambda _: None) -> Pipeline:
    """Open the index, load the model and join them; `stage` hears what is being done.

    Raises `IndexNotFound`, `IndexBroken`, `ModelNotFound`, `ModelUnfit`, `BadHeads` and `BadProfile`.
    """
    stage(f"opening index {settings.index}")
    index = open_index(settings.index)
    stage(f"loading model {settings.model}")
    model = load_model(settings.model)
    return Pipeline(
        IndexRetriever(index, settings),
        build_reranker(model, settings),
        build_generator(model, settings),
        depth=settings.depth,
    )
