"""Votes as arrays made into systems, battles and votes that a store can keep: one battle a vote.

The texts mean nothing, but have the style that the arrays say. Meant for simulated votes.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from ragnarok.arena.types import OUTCOMES, Battle, Columns, Outcome, Output, System, Vote
from ragnarok.types import Answer, Passage, RankedHit, Sentence

WORDS = ("lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit", "sed", "do")

LENGTH, HITS = 20, 5
"""Words in a sentence, and the least number of hits."""


def staged(columns: Columns, *, prefix: str = "simulated") -> Iterator[System | Battle | Vote]:
    """All systems, then each battle with its vote behind it; battles are named `prefix`-000001 and so on."""
    yield from columns.systems
    for row in range(len(columns.a)):
        battle = _battle(columns, row, f"{prefix}-{row + 1:06d}")
        yield battle
        yield Vote(
            battle.battle_id,
            columns.voters[columns.voter[row]],
            "model" if columns.by_model[row] else "human",
            battle.created,
            _outcome(columns.answer[row]),
            _outcome(columns.evidence[row]),
        )


def _battle(columns: Columns, row: int, name: str) -> Battle:
    question = f"Simulated question {row + 1}?"
    a, b = (
        _output(columns.systems[system], question, *map(int, style))
        for system, style in zip((columns.a[row], columns.b[row]), columns.style[row], strict=True)
    )
    topics = int(columns.topics[row])
    return Battle(
        name,
        datetime.fromtimestamp(float(columns.cast[row]), UTC),
        question,
        row,
        a,
        b,
        None if topics < 0 else columns.topic_sets[topics],
        None if topics < 0 else str(row + 1),
    )


def _output(system: System, question: str, words: int, citations: int, sources: int) -> Output:
    many = max(1, -(-words // LENGTH))
    cited = [number % sources for number in range(citations)] if sources else []
    sentences = tuple(
        Sentence(
            " ".join(WORDS[number % len(WORDS)] for number in range(place, words, many)),
            tuple(cited[place::many]),
        )
        for place in range(many)
    )
    references = tuple(f"passage-{number + 1}" for number in range(max(sources, HITS)))
    hits = tuple(
        RankedHit(docid, 1.0 / rank, rank, Passage(docid, f"Simulated passage {rank}."), first_rank=rank)
        for rank, docid in enumerate(references, start=1)
    )
    return Output(system.name, system.digest, Answer(question, sentences, references), hits)


def _outcome(code: np.int8) -> Outcome | None:
    return None if code < 0 else OUTCOMES[int(code)]
