"""The stages that a model does in this process: re-ranker and generator, opened and used once.

The only module of the service that loads models; it is imported where a stage is done here.
"""

from collections.abc import Callable
from dataclasses import replace

from transformers.utils import logging as transformers_log

from ragnarok.assemble import build_endpoint, build_generator, build_reranker, joint_options
from ragnarok.generators import LocalGenerator, QuoteGenerator
from ragnarok.rerankers import AttentionReranker, LateAttentionReranker
from ragnarok.seams import Generator, Reranker
from ragnarok.types import Hit, Mode, Passage
from rerank.icr import InContextReranker
from rerank.model import Model, load_model
from rerank.profile import shipped_profile
from service.device import choose_device, look
from service.identity import identity_of
from service.library import WARM_UP
from service.settings import Settings

_HITS = [
    Hit(name, 1.0 / rank, rank, Passage(name, f"This is the {name} of two passages."))
    for rank, name in enumerate(("first", "second"), start=1)
]


class Local:
    """Opens stages; each is to be closed by whoever has it opened."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        """Open what `settings` ask for; `say` hears what is being done."""
        self.settings, self._say = settings, say
        self._pipeline = settings.for_pipeline()
        self.loaded: Model | None = None
        """The model, once a stage has needed it."""

    @property
    def model(self) -> Model:
        """The model that the stages share. Raises `BadSetting`, `ModelNotFound` and `ModelUnfit`."""
        if self.loaded is None:
            self._say(f"loading model {self.settings.model}")
            device = choose_device(self.settings.device, look(), self._say)
            # It writes by a handler of its own, whatever the format of the log.
            transformers_log.disable_default_handler()
            transformers_log.enable_propagation()
            self.loaded = load_model(self.settings.model, device=device)
        return self.loaded

    def identity(self, stage: str) -> str:
        """What a stage's results depend on (`service.identity`): settings, the model's weights, the profile.

        An endpoint of others is known by its address and its model's name alone.
        """
        if stage == "generation" and self.settings.generator == "openai":
            return identity_of(stage, self.settings, None)
        profile = self._pipeline.profile or shipped_profile(self.model)
        opened = [self.model.digest, "" if profile is None else profile.digest]
        return identity_of(stage, self.settings, opened)

    def reranker(self) -> Reranker:
        """The re-ranker, not used yet. Raises as `build_reranker` does."""
        return build_reranker(self.model, self._pipeline)

    def generator(self) -> Generator:
        """The generator, not used yet. Raises as `build_generator` does."""
        if self.settings.generator == "openai":
            return build_endpoint(self._pipeline)
        return build_generator(self.model, self._pipeline)

    def modes(self, reranker: Reranker) -> dict[Mode, LateAttentionReranker | AttentionReranker]:
        """The ways to re-rank: the settings' own first, and joint, which needs nothing more, beside late."""
        if isinstance(reranker, AttentionReranker):
            return {"read" if self.settings.mode == "read" else "joint": reranker}
        if isinstance(reranker, LateAttentionReranker):
            weight = 1.0 if self.settings.first_stage is None else self.settings.first_stage
            reader = InContextReranker(self.model, joint_options(self.model, self._pipeline))
            return {"late": reranker, "joint": AttentionReranker(reader, first_stage=weight)}
        return {}


def warm_up(reranker: Reranker | None, generator: Generator | None) -> None:
    """Re-rank two passages, and have one token written or one sentence quoted. Raises what these raise.

    An endpoint of others is not asked: it costs, and it may not be there yet.
    """
    if reranker is not None:
        reranker.rerank(WARM_UP, _HITS)
    if isinstance(generator, LocalGenerator):
        generator = LocalGenerator(generator.model, replace(generator.options, max_tokens=1))
    if isinstance(generator, LocalGenerator | QuoteGenerator):
        for _ in generator.stream(WARM_UP, _HITS):
            pass
