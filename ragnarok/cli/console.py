"""How commands speak: results to standard output, progress and remarks to standard error."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False)


def print_json(value: object) -> None:
    """One JSON document on standard output, letters as they are."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


class Steps:
    """The steps of a command: a bar while each runs, its time when it is done."""

    def __init__(self, console: Console = err) -> None:
        """Show steps on `console`."""
        self.console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step whose length is unknown: a moving bar and the seconds so far."""
        start = time.perf_counter()
        with self.waiting(name):
            yield
        self._done(name, start)

    @contextmanager
    def waiting(self, name: str) -> Iterator[None]:
        """A moving bar that leaves no trace."""
        with _bars(self.console, total=False) as bars:
            bars.add_task(name, total=None)
            yield

    @contextmanager
    def stages(self, name: str) -> Iterator["Stages"]:
        """A step that reports stages as `(stage, done, total)`: one bar a stage."""
        start = time.perf_counter()
        with _bars(self.console, total=True) as bars:
            yield Stages(bars)
        self._done(name, start)

    def _done(self, name: str, start: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.console.print(f"[green]✓[/] {name} [dim]{time.perf_counter() - start:.1f} s[/]")


class Stages:
    """Turns `(stage, done, total)` reports into bars."""

    def __init__(self, bars: Progress) -> None:
        """Draw on `bars`."""
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Take one report."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total)
        self._bars.update(self._tasks[stage], completed=done, total=total)


def _bars(console: Console, *, total: bool) -> Progress:
    columns: list[Any] = [TextColumn("  {task.description}"), BarColumn(bar_width=28)]
    columns += [MofNCompleteColumn(), TimeRemainingColumn(compact=True)] if total else []
    # Where no one watches (a file, a pipe), a moving bar is noise: the line at a step's end says it all.
    hidden = not console.is_terminal
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=hidden)
