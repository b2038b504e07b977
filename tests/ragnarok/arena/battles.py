"""Systems, battles and votes by hand, small enough to know every number of."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from ragnarok.arena.types import OUTCOMES, Battle, Outcome, Output, System, Vote
from ragnarok.types import Answer, Highlight, Passage, RankedHit, Sentence

SYSTEMS = tuple(System(name, {"index": "demo", "reranker": name}) for name in ("bm25", "late", "joint"))
NOON = datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC)

HITS = (
    RankedHit(
        "d1", 1.5, 1, Passage("d1", "Bananas 🍌 are \x00 fruit.\u2028", "Fruit", "http://f"), 2, 0.5, cut=True
    ),
    RankedHit("d2", 0.25, 2, Passage("d2", '=cmd|"/c calc"!A1'), 1, 1, (Highlight(0, 4, 0.75),)),
)


def an_output(system: System, words: int = 3, citations: Sequence[int] = (0, 1)) -> Output:
    """What a system showed: one sentence of so many words with these citations."""
    answer = Answer("q", (Sentence("word " * words, tuple(citations)),), ("d1", "d2"), ("a note",))
    return Output(system.name, system.digest, answer, HITS, {"retrieve": 0.25})


def a_battle(
    battle_id: str = "b1", a: System = SYSTEMS[0], b: System = SYSTEMS[1], *, topics: str | None = None
) -> Battle:
    """A battle of two systems."""
    return Battle(
        battle_id,
        NOON,
        "what is = a banana?",
        2**70,
        an_output(a, 3),
        an_output(b, 5, (1,)),
        topics,
        topics and "q7",
    )


def a_vote(battle_id: str = "b1", voter: str = "ann", answer: Outcome | None = "a", minute: int = 0) -> Vote:
    """A human vote."""
    return Vote(battle_id, voter, "human", NOON + timedelta(minutes=minute), answer, "tie", ("=short",))


def many(count: int) -> Iterator[System | Battle | Vote]:
    """The systems, and so many battles with a vote each, of 50 voters."""
    yield from SYSTEMS
    for number in range(count):
        pair = (SYSTEMS[number % 3], SYSTEMS[(number + 1) % 3])
        yield a_battle(f"b{number}", *pair, topics=("even", None)[number % 2])
    for number in range(count):
        yield a_vote(f"b{number}", f"v{number % 50}", OUTCOMES[number % 4], number)
