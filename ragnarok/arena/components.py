"""Boards of components: which index, re-ranker or generator is preferred, all else being the same.

Only battles whose systems differ in exactly that one component count; what met in them is the component's
two values. Rating them is for `ragnarok.arena.boards`.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ragnarok.arena.types import Columns, System
from ragnarok.errors import NotFound

NONE = "none"
"""The value of a component that a system does not have."""

PER_VOTE = ("answer", "evidence", "voter", "by_model", "topics", "cast", "style")
"""What `Columns` holds of each vote besides who met."""


def component_kinds(columns: Columns) -> tuple[str, ...]:
    """The kinds of component, sorted, that at least one battle compares alone."""
    single = _single(columns.systems)
    return tuple(kind for kind, pairs in sorted(single.items()) if pairs[columns.a, columns.b].any())


def component_columns(columns: Columns, kind: str) -> Columns:
    """The votes that compare `kind` alone, its values in the place of systems. Raises `NotFound`."""
    single = _single(columns.systems)
    kinds = component_kinds(columns)
    if kind not in kinds:
        raise NotFound(
            f"no battle compares {kind!r} alone; battles compare {', '.join(kinds) or 'no component alone'}"
        )
    values = sorted({_value(system, kind) for system in columns.systems})
    place = np.array([values.index(_value(system, kind)) for system in columns.systems], np.int32)
    kept = single[kind][columns.a, columns.b]
    return replace(
        columns,
        systems=tuple(System(value, {kind: value}) for value in values),
        a=place[columns.a[kept]],
        b=place[columns.b[kept]],
        **{name: getattr(columns, name)[kept] for name in PER_VOTE},
    )


def _value(system: System, kind: str) -> str:
    return system.components.get(kind, NONE)


def _single(systems: tuple[System, ...]) -> dict[str, npt.NDArray[np.bool_]]:
    """By kind, `[n, n]`: the pairs of systems that differ in that component and in no other."""
    kinds = sorted({kind for system in systems for kind in system.components})
    n = len(systems)
    differs = np.zeros((len(kinds), n, n), bool)
    for row, kind in enumerate(kinds):
        values = np.array([_value(system, kind) for system in systems], dtype=str)
        differs[row] = values[:, None] != values[None, :]
    alone = differs.sum(axis=0) == 1
    return {kind: differs[row] & alone for row, kind in enumerate(kinds)}
