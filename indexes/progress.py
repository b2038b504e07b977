"""How long work tells its caller how far it is; what draws the bar is the caller's affair."""

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Called as `progress(stage, done, total)`; `total` is None where the end is not known yet."""


def silent(stage: str, done: int, total: int | None) -> None:
    """The progress callback of callers who want none."""
