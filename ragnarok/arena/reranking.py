"""The re-rankers of an arena's systems: those that read alike share one reader, its memory and its batches.

What the first stage weighs, and whether short lists are read in one prompt as well, is each system's own and
costs nothing. Knows nothing of how models are loaded, nor of indexes and generators.
"""

from dataclasses import replace

from ragnarok.assemble import PipelineSettings, build_reranker
from ragnarok.pipeline import close_parts
from ragnarok.rerankers import AttentionReranker, KeepOrder, LateAttentionReranker
from ragnarok.seams import Reranker
from rerank.model import Model
from rerank.profile import HeadProfile, shipped_profile


class Rerankers:
    """Makes re-rankers that share what they can; to be closed, and they are not."""

    def __init__(self) -> None:
        """Make none yet."""
        self._made: dict[tuple[int, str, str], Reranker] = {}

    def close(self) -> None:
        """Close all that was made."""
        close_parts(*self._made.values())

    def make(self, model: Model, settings: PipelineSettings) -> Reranker:
        """The re-ranker of a model that `settings` ask for. Raises what `build_reranker` raises."""
        profile = settings.profile or shipped_profile(model)
        mode = settings.mode or _suited(profile)
        # Joint mode takes the heads of a profile that is named.
        used = settings.profile if mode == "joint" else profile
        read_by = "" if used is None else used.digest
        key = id(model), mode, read_by
        if key not in self._made:
            # With all that late mode can be: what a system does not want is left out of its own.
            whole = replace(settings, mode=None) if mode == _suited(profile) else settings
            self._made[key] = build_reranker(model, whole)
        return _of_its_own(self._made[key], settings)


def told(reranker: Reranker, settings: PipelineSettings) -> str:
    """What a system's component `reranker` says."""
    match reranker:
        case KeepOrder():
            return "none"
        case LateAttentionReranker(reader=reader, joint=joint):
            mode, profile = "late" if joint is None else "late+joint", reader.profile.digest
        case _:
            mode = settings.mode or "joint"
            profile = "" if settings.profile is None else settings.profile.digest
    weight = "" if settings.first_stage is None else f"first_stage={settings.first_stage:g}"
    return " ".join(filter(None, [mode, profile, weight]))


def _suited(profile: HeadProfile | None) -> str:
    return "late" if profile is not None and profile.signals else "joint"


def _of_its_own(made: Reranker, settings: PipelineSettings) -> Reranker:
    match made:
        case LateAttentionReranker(evidence=evidence, joint=joint):
            own = made.with_weight(settings.first_stage, evidence)
            own.joint = joint if settings.mode is None else None
            return own
        case AttentionReranker(reader=reader):
            return AttentionReranker(
                reader, first_stage=1.0 if settings.first_stage is None else settings.first_stage
            )
    return made
