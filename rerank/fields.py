"""Single values of a record: each is checked, and refused with its name, what it is and what it must be.

This module knows nothing of what records are of.
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from rerank.errors import BadProfile

Item = TypeVar("Item")


def read_json(path: Path | str) -> object:
    """What a JSON file holds. Raises `BadProfile`, also for a name given twice and for NaN."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except OSError as error:
        raise BadProfile(f"it cannot be read: {error.strerror}; give a file that is there") from error
    except (ValueError, RecursionError) as error:
        raise BadProfile(f"it is no whole JSON document ({error}); make or fetch it again") from error


@contextlib.contextmanager
def within(place: str) -> Iterator[None]:
    """Name `place` in front of what any `BadProfile` raised inside says."""
    try:
        yield
    except BadProfile as error:
        raise BadProfile(f"{place}: {error}") from error


def check_record(name: str, value: object) -> dict[str, Any]:
    """An object of named fields. Raises `BadProfile`."""
    if not isinstance(value, dict):
        raise BadProfile(f"{name} is {shown(value)}: it must be an object of named fields")
    return value


def check_list(name: str, value: object) -> list[Any]:
    """A list. Raises `BadProfile`."""
    if not isinstance(value, list):
        raise BadProfile(f"{name} is {shown(value)}: it must be a list")
    return value


def check_length(name: str, value: Sequence[object], wanted: int, of: str) -> None:
    """Refuse, with `BadProfile`, what has not `wanted` items; `of` says what they are."""
    if len(value) != wanted:
        raise BadProfile(f"{name} has length {len(value)}: it must have {wanted} {of}")


def check_whole(name: str, value: object, least: int = 0) -> int:
    """A whole number of at least `least`. Raises `BadProfile`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise BadProfile(f"{name} is {shown(value)}: it must be a whole number of at least {least}")
    return int(value)


def check_number(name: str, value: object, least: float = -math.inf, most: float = math.inf) -> float:
    """`value` as a float. Raises `BadProfile` if it is no finite number from `least` to `most`."""
    number = math.nan
    if not isinstance(value, bool) and isinstance(value, Real):
        with contextlib.suppress(OverflowError):
            number = float(value)
    if not (math.isfinite(number) and least <= number <= most):
        bounds = f" of at least {least:g}" if most == math.inf else f" from {least:g} to {most:g}"
        allowed = "a finite number" + ("" if least == -math.inf else bounds)
        raise BadProfile(f"{name} is {shown(value)}: it must be {allowed}")
    return number


def check_text(name: str, value: object, *, empty: bool = True) -> str:
    """Text, or a name where it may not be empty. Raises `BadProfile`."""
    if not isinstance(value, str) or not (value or empty):
        raise BadProfile(f"{name} is {shown(value)}: it must be {'text' if empty else 'a name'}")
    return value


def check_pair(name: str, value: object) -> tuple[int, int]:
    """A layer and a head. Raises `BadProfile`."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise BadProfile(f"{name} is {shown(value)}: it must be a layer and a head")
    return check_whole(f"{name}[0]", value[0]), check_whole(f"{name}[1]", value[1])


def in_order(name: str, items: Iterable[Item], key: Callable[[Item], tuple[Any, ...]]) -> tuple[Item, ...]:
    """`items` in order of `key`. Raises `BadProfile` where two have the same."""
    ordered = sorted(items, key=key)
    for item, following in pairwise(ordered):
        if key(item) == key(following):
            raise BadProfile(f"{name} has {'-'.join(map(str, key(item)))} twice: give every head once")
    return tuple(ordered)


def set_field(record: object, name: str, value: object) -> None:
    """Set a field of a frozen record that is being made."""
    object.__setattr__(record, name, value)


def shown(value: object) -> str:
    """`value` as it would be written, cut to a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadProfile(f"{twice} is given twice, with {[v for n, v in pairs if n == twice]}: give it once")
    return record


def _constant(name: str) -> float:
    raise BadProfile(f"a number is {name}: every number must be finite; make the profile again")
