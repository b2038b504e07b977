"""From settings to a working pipeline in this process."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from indexes import Index, Method, open_index
from ragnarok.documents import StoreOptions
from ragnarok.errors import BadSetting
from ragnarok.generators import (
    LocalGenerator,
    LocalOptions,
    OpenAIGenerator,
    OpenAIOptions,
    QuoteGenerator,
)
from ragnarok.pipeline import Pipeline, close_parts
from ragnarok.policies import FULL, check_policy, make_policy
from ragnarok.rerankers import EVIDENCE, AttentionReranker, KeepOrder, LateAttentionReranker
from ragnarok.seams import Generator, Reranker
from ragnarok.types import GeneratorName, Hit, Mode
from rerank.icr import IcrOptions, InContextReranker
from rerank.late.reranker import LateOptions, LateReranker
from rerank.model import Model, load_model
from rerank.profile import HeadProfile, check_profile, shipped_profile
from rerank.read import ReadOptions, ReadReranker

WRITES_FROM = 400_000_000
"""Parameters from which a model is left to write; smaller ones quote, for they write untruths."""


@dataclass(frozen=True, slots=True)
class PipelineSettings:
    """What a pipeline is made of.

    `index` is a name or path; `method` the first stage (None: the best the index has); `model` a name, path
    or hub id; `rerank` whether attention re-ranks at all; `mode` how (None: `late` if a head profile is given
    or comes with the model, otherwise `joint`; and a short list that nothing has ranked is read as a whole,
    too, where the profile gives that a weight), with `profile`, `late`, `read` and `icr` for each;
    `store` where late mode keeps documents beyond this process, unless `late` brings an open one;
    `first_stage` how much the first stage's rank weighs (None: as the profile says, or 1 in joint mode);
    `evidence` how many of the best hits late mode marks words in;
    `generator` how answers are made (None: `local`, which writes, if the model has `WRITES_FROM` parameters,
    and `quote` otherwise; `openai` is the endpoint of that one), with `generate` how it writes and `policy`
    what it keeps in view meanwhile (`full`: as `generate` says, which is everything; `sparsity` is
    for `duo`); `depth` the hits retrieved.
    Raises `BadPolicy`.
    """

    index: str = "demo"
    method: Method | None = None
    model: str = "smollm2-135m"
    rerank: bool = True
    mode: Mode | None = None
    profile: HeadProfile | None = None
    late: LateOptions = field(default_factory=LateOptions)
    read: ReadOptions = field(default_factory=ReadOptions)
    store: StoreOptions = field(default_factory=StoreOptions)
    first_stage: float | None = None
    evidence: int = EVIDENCE
    icr: IcrOptions = field(default_factory=lambda: IcrOptions(passage_tokens=160))
    generator: GeneratorName | None = None
    generate: LocalOptions = field(default_factory=LocalOptions)
    openai: OpenAIOptions | None = None
    policy: str = FULL
    sparsity: float = 0.5
    depth: int = 20
    k1: float = 0.9
    b: float = 0.4

    def __post_init__(self) -> None:
        """Refuse now what would be refused once a model has been loaded."""
        check_policy(self.policy, self.sparsity)


class IndexRetriever:
    """An index of this machine as the first stage."""

    def __init__(self, index: Index, settings: PipelineSettings) -> None:
        """Search `index` with the method and parameters of `settings`."""
        self._index, self._settings = index, settings
        self.created = index.manifest.created
        """When the index was built; empty for one that Pyserini built."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The best `k` hits of each query. Raises `SearchError` and `IndexBroken`."""
        chosen = self._settings
        return self._index.search(queries, k, method=chosen.method, k1=chosen.k1, b=chosen.b)

    def close(self) -> None:
        """Close the index."""
        self._index.close()


def build_reranker(model: Model, settings: PipelineSettings) -> Reranker:
    """The re-ranker that `settings` ask for; `close_parts` closes it, its thread and its store.

    Raises `BadHeads`, `BadProfile`, `StoreUnusable`, and `BadSetting` for a store that would not be used.
    """
    profile = settings.profile or shipped_profile(model)
    suited = "late" if profile is not None and profile.signals else "joint"
    if settings.rerank and (settings.mode or suited) == "late":
        return _late(model, profile, settings)
    if settings.store.is_named:
        raise BadSetting(
            "a document store keeps what late mode reads, and this is not late mode: leave the store out, "
            f"or use late mode (with a head profile, if none comes with {model.name})"
        )
    if not settings.rerank:
        return KeepOrder()
    weight = 1.0 if settings.first_stage is None else settings.first_stage
    if settings.mode == "read":
        with model.turn:
            reader = ReadReranker(model, profile, settings.read)
        return AttentionReranker(reader, first_stage=weight)
    return AttentionReranker(InContextReranker(model, joint_options(model, settings)), first_stage=weight)


def joint_options(model: Model, settings: PipelineSettings) -> IcrOptions:
    """How joint mode reads: by the joint heads of the profile in `settings`, unless others are named.

    Without such a profile all heads count, as published. Raises `BadProfile`.
    """
    profile = settings.profile
    if profile is None or not profile.joint or settings.icr.heads is not None:
        return settings.icr
    check_profile(profile, model)
    heads = tuple((one.layer, one.head) for one in profile.joint)
    return replace(settings.icr, heads=heads, head_weights=tuple(one.weight for one in profile.joint))


def _late(model: Model, profile: HeadProfile | None, settings: PipelineSettings) -> LateAttentionReranker:
    store = settings.late.store or settings.store.open()
    with ExitStack() as failed:
        failed.callback(close_parts, store)
        with model.turn:
            late = LateReranker(model, profile, replace(settings.late, store=store))
        failed.pop_all()
    joint = None
    if settings.mode is None and late.profile.together > 0:
        joint = InContextReranker(model, IcrOptions("ie", passage_tokens=late.profile.passage_tokens))
    return LateAttentionReranker(
        late, first_stage=settings.first_stage, evidence=settings.evidence, joint=joint
    )


def build_generator(model: Model, settings: PipelineSettings) -> Generator:
    """The generator that `settings` ask for, or the one that suits the model's size.

    Raises `BadProfile` and `BadPolicy`, and `BadSetting` for a policy that would not be used.
    """
    suited = "local" if model.parameters >= WRITES_FROM else "quote"
    name = settings.generator or suited
    if name != "local" and settings.policy != FULL:
        writes = f"{model.name} quotes" if name == "quote" else "an endpoint writes"
        raise BadSetting(
            f"the attention policy {settings.policy} is for a model that writes, and here {writes}: "
            "choose the generator local, or leave the policy out"
        )
    if name == "quote" and settings.generate.prompt:
        raise BadSetting(
            f"the prompt is for a model that writes, and here {model.name} quotes: choose the generator "
            "local or openai, or leave the prompt out"
        )
    if name == "quote":
        return QuoteGenerator(model)
    if name == "openai":
        return build_endpoint(settings)
    if settings.policy == FULL:
        return LocalGenerator(model, settings.generate)
    profile = settings.profile or shipped_profile(model)
    policy = make_policy(settings.policy, model, profile, settings.sparsity)
    return LocalGenerator(model, replace(settings.generate, policy=policy))


def build_endpoint(settings: PipelineSettings) -> OpenAIGenerator:
    """The endpoint that `settings` ask for; it needs no model here. Raises `BadSetting`."""
    how = settings.generate
    options = replace(
        settings.openai or OpenAIOptions(base_url="", model=""),
        passages=how.passages,
        passage_tokens=how.passage_tokens,
        max_tokens=how.max_tokens,
        max_citations=how.max_citations,
        prompt=how.prompt,
    )
    return OpenAIGenerator(options)


def build_pipeline(settings: PipelineSettings, stage: Callable[[str], None] = lambda _: None) -> Pipeline:
    """Open the index, load the model and join them; `stage` hears what is being done.

    The pipeline is to be closed. Raises `IndexNotFound`, `IndexBroken`, `ModelNotFound`, `ModelUnfit`, and
    what `build_reranker` and `build_generator` raise.
    """
    with ExitStack() as failed:
        stage(f"opening index {settings.index}")
        index = failed.enter_context(open_index(settings.index))
        stage(f"loading model {settings.model}")
        model = load_model(settings.model)
        reranker = build_reranker(model, settings)
        failed.callback(close_parts, reranker)
        generator = build_generator(model, settings)
        failed.pop_all()
    return Pipeline(IndexRetriever(index, settings), reranker, generator, depth=settings.depth)
