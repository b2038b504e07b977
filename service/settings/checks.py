"""What settings that are each possible cannot be together. Every check raises `BadSetting`."""

from pathlib import Path

from ragnarok.errors import BadSetting
from rerank.errors import BadPolicy
from service.settings.settings import Settings
from service.settings.sources import variable
from service.settings.stages import STAGES
from service.settings.values import split_list


def check_together(settings: Settings) -> None:
    """Refuse roles, indexes, a policy and depths that do not fit each other, in this order."""
    settings.for_openai()
    _check_roles(settings)
    _check_indexes(settings)
    if "generation" in settings.stages_here():
        _check_policy(settings)
    if settings.depth > settings.max_depth:
        raise BadSetting(
            f"{variable('depth')}={settings.depth} is over {variable('max_depth')}={settings.max_depth}; "
            "lower the one or raise the other"
        )


def _check_roles(settings: Settings) -> None:
    """Refuse services that would not be asked, and a gateway that lacks one."""
    given = [stage for stage in STAGES if settings.urls(stage)]
    names = {stage: variable(f"{stage}_url") for stage in STAGES}
    if settings.serve == "gateway" and (missing := [names[s] for s in STAGES if s not in given]):
        raise BadSetting(
            f"a gateway does nothing itself and needs {', '.join(missing)}; "
            f"{variable('serve')}=all does here what has no address"
        )
    if settings.serve in STAGES and given:
        raise BadSetting(
            f"{variable('serve')}={settings.serve} asks nobody: leave {names[given[0]]} out, or set "
            f"{variable('serve')} to gateway or all"
        )
    if settings.serve == "rerank" and not settings.rerank:
        raise BadSetting(f"{variable('serve')}=rerank does nothing with {variable('rerank')}=false; drop one")


def _check_indexes(settings: Settings) -> None:
    """Refuse two indexes of one name, and questions asked of an index that is not served."""
    served = settings.served_indexes()
    if len(served) < len(split_list(settings.indexes) or [settings.index]):
        raise BadSetting(f"{variable('indexes')}={settings.indexes!r} names two indexes {_twice(settings)!r}")
    if settings.index not in {*served, *served.values()}:
        raise BadSetting(
            f"{variable('indexes')}={settings.indexes!r} lacks {variable('index')}={settings.index!r}, which "
            "questions are asked of; add it, or set the latter to one of them"
        )


def _check_policy(settings: Settings) -> None:
    """Refuse a policy before a model is loaded for it."""
    from ragnarok.policies import check_policy

    try:
        check_policy(settings.policy, settings.sparsity)
    except BadPolicy as error:
        raise BadSetting(f"{variable('policy')}={settings.policy!r}: {error}") from None


def _twice(settings: Settings) -> str:
    names = [Path(place).name for place in split_list(settings.indexes)]
    return next(name for name in names if names.count(name) > 1)
