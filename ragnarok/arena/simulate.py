"""Votes of an arena that never was, whose truth is known: to test the statistics, and to show a board.

A vote follows the model that ratings assume: the left one is preferred with probability
p = σ(s_a − s_b + Σ γ·(a − b)/(a + b) of style). Of votes, 2·min(p, 1 − p)·`ties` are ties, taken from both
sides alike, so that a tie counted as half a win leaves p what it was; a share `bad` of them says both bad.
Some voters do not read: they vote by their habit.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from ragnarok.arena.ratings import SCALE
from ragnarok.arena.style import contrasts
from ragnarok.arena.tally import Floats
from ragnarok.arena.types import OUTCOMES, STYLE, Columns, System
from ragnarok.errors import BadSetting

Habit = Literal["honest", "random", "left", "right", "tie", "contrary"]

HABITS: tuple[Habit, ...] = ("honest", "random", "left", "right", "tie", "contrary")
"""What a voter votes by: what answers are worth, the lot, always one side, always a tie, the reverse."""

START = 1_767_225_600.0
"""The first vote's time: 1 January 2026, UTC."""

MINUTE = 60.0

SIZES = (120.0, 6.0, 4.0)
"""Means of `STYLE`'s numbers in an answer of average style."""

A, B, TIE, BOTH_BAD = range(4)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is simulated: true `ratings` by system, and how `votes` come about.

    `ties` is the share of ties between equals, `bad` that of both bad among them. `style` is by how much each
    number of `STYLE` sways, in points of rating for a contrast of 1; `wordy` multiplies a system's style.
    `voters` gives how many there are of each habit; `models` is the share of voters that are models;
    `evidence` the share of votes on the evidence too, by the same truth without style. Votes are a minute
    apart.
    """

    ratings: Mapping[str, float]
    votes: int = 1000
    ties: float = 0.3
    bad: float = 0.4
    style: tuple[float, float, float] = (0.0, 0.0, 0.0)
    wordy: Mapping[str, float] = field(default_factory=dict)
    voters: Mapping[Habit, int] = field(default_factory=lambda: {"honest": 20})
    models: float = 0.0
    evidence: float = 0.5
    components: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises `BadSetting`."""
        if len(self.ratings) < 2:
            raise BadSetting(
                f"two systems or more must meet, here are {len(self.ratings)}: give more ratings"
            )
        for name, rating in self.ratings.items():
            if not math.isfinite(rating):
                raise BadSetting(f"the rating of {name!r} is {rating}: give a finite number")
        if self.votes < 0 or sum(self.voters.values()) < 1:
            raise BadSetting(
                f"{self.votes} votes of {sum(self.voters.values())} voters: give at least 0 of 1"
            )
        for name in ("ties", "bad", "models", "evidence"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadSetting(f"{name} is {getattr(self, name)}: a share is from 0 to 1")
        for habit in self.voters:
            if habit not in HABITS:
                raise BadSetting(f"no voter has the habit {habit!r}: {', '.join(HABITS)}")


def simulate(scenario: Scenario, seed: int = 0) -> Columns:
    """The votes, the same for the same seed. Pairs and sides are drawn evenly."""
    source = np.random.default_rng(seed)
    names = tuple(scenario.ratings)
    m, n = scenario.votes, len(names)
    a = source.integers(0, n, m)
    b = (a + source.integers(1, n, m)) % n
    strength = np.array([scenario.ratings[name] for name in names]) / SCALE
    style = _style(scenario, names, a, b, source)
    habits = [habit for habit, many in scenario.voters.items() for _ in range(many)]
    voter = source.integers(0, len(habits), m)
    by_model = np.arange(len(habits)) < round(scenario.models * len(habits))
    worth = strength[a] - strength[b]
    swayed = worth + contrasts(style) @ np.array(scenario.style) / SCALE
    evidence = _vote(scenario, worth, habits, voter, source)
    return Columns(
        tuple(System(name, scenario.components.get(name, {"name": name})) for name in names),
        tuple(f"{habit}-{number:03d}" for number, habit in enumerate(habits)),
        ("simulated",),
        a.astype(np.int32),
        b.astype(np.int32),
        _vote(scenario, swayed, habits, voter, source),
        np.where(source.random(m) < scenario.evidence, evidence, -1).astype(np.int8),
        voter.astype(np.int32),
        by_model[voter],
        np.zeros(m, np.int32),
        START + MINUTE * np.arange(m, dtype=np.float64),
        style,
    )


def _style(
    scenario: Scenario,
    names: tuple[str, ...],
    a: npt.NDArray[np.int64],
    b: npt.NDArray[np.int64],
    source: np.random.Generator,
) -> npt.NDArray[np.int32]:
    wordy = np.array([scenario.wordy.get(name, 1.0) for name in names])[np.stack([a, b], axis=1)]
    spread = source.lognormal(0.0, 0.4, (len(a), 2, len(STYLE)))
    found: npt.NDArray[np.int32] = source.poisson(wordy[..., None] * spread * SIZES).astype(np.int32)
    # No more sources than citations, and some if there is any.
    found[..., 2] = np.clip(found[..., 2], np.minimum(found[..., 1], 1), found[..., 1])
    return found


def _vote(
    scenario: Scenario,
    logit: Floats,
    habits: list[Habit],
    voter: npt.NDArray[np.int64],
    source: np.random.Generator,
) -> npt.NDArray[np.int8]:
    """Positions in `OUTCOMES`."""
    p = 0.5 * (1 + np.tanh(logit / 2))
    tied = 2 * np.minimum(p, 1 - p) * scenario.ties
    lot, bad = source.random(len(p)), source.random(len(p)) < scenario.bad
    tie = np.where(bad, BOTH_BAD, TIE)
    honest = np.where(lot < p - tied / 2, A, np.where(lot < p + tied / 2, tie, B))
    habit = np.array(habits)[voter]
    by_habit: dict[Habit, npt.ArrayLike] = {
        "random": source.integers(0, len(OUTCOMES), len(p)),
        "left": A,
        "right": B,
        "tie": tie,
        "contrary": np.array([B, A, TIE, BOTH_BAD])[honest],
    }
    for name, votes in by_habit.items():
        honest = np.where(habit == name, votes, honest)
    return honest.astype(np.int8)
