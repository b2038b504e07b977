"""Judgments made elsewhere on pairs of TREC answers, as battles and votes.

Answer files are in TREC's forms; a run's id is its system's name. Judgments are JSONL, one object a line:
`qid`, `a` and `b` (the run ids, as they stood), `voter`, `answer` or `evidence` or both, and maybe `kind`
(`human`), `cast` and `tags`. A topic's pair of runs is one battle, whatever its voters. Knows nothing of how
a store keeps them.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from ragnarok.arena import codec, forms
from ragnarok.arena.types import Battle, Output, System, Vote
from ragnarok.errors import BadFormat
from ragnarok.trec import AnswerLine, read_answers
from ragnarok.trec.files import bad_line, read_lines
from ragnarok.types import Passage, RankedHit

UNDATED = datetime(1970, 1, 1, tzinfo=UTC)
"""The time of battles, which files do not tell, and of votes that tell none."""

_OF_PAIR = ("qid", "a", "b")


def read_pairs(answers: Iterable[Path], judgments: Path, topics: str) -> Iterator[System | Battle | Vote]:
    """All runs as systems, then each judged pair's battle and its votes; `topics` names the topic set.

    The same files always give the same. Raises `NotFound`, and `BadFormat` with the line's number.
    """
    runs: dict[str, dict[str, AnswerLine]] = {}
    systems: dict[str, System] = {}
    for file in answers:
        digest = hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest() if file.is_file() else ""
        for line in read_answers(file):
            if line.topic.qid in runs.setdefault(line.run_id, {}):
                raise BadFormat(f"{file}: the run {line.run_id!r} answers topic {line.topic.qid!r} twice")
            runs[line.run_id][line.topic.qid] = line
            systems[line.run_id] = System(line.run_id, {"answers": f"{line.run_id} {digest}"})
    yield from systems.values()
    for number, text in read_lines(judgments):
        try:
            yield from _judged(codec.from_text(text), runs, systems, topics)
        except ValueError as error:
            raise bad_line(judgments, number, str(error)) from error


def _judged(
    record: codec.Record,
    runs: dict[str, dict[str, AnswerLine]],
    systems: dict[str, System],
    topics: str,
) -> Iterator[Battle | Vote]:
    if missing := [name for name in _OF_PAIR if not isinstance(record.get(name), str)]:
        raise ValueError(f"lacks {', '.join(missing)}, as strings")
    qid, a, b = (record.pop(name) for name in _OF_PAIR)
    for run in (a, b):
        if qid not in runs.get(run, {}):
            raise ValueError(f"no answer file has an answer of {run!r} to topic {qid!r}")
    sides = [_output(runs[run][qid], systems[run]) for run in (a, b)]
    told = "\n".join([topics, qid, *(f"{one.system} {one.digest}" for one in sides)])
    name = hashlib.blake2b(told.encode(errors="surrogatepass"), digest_size=12).hexdigest()
    battle = Battle(name, UNDATED, runs[a][qid].topic.text, 0, sides[0], sides[1], topics, qid)
    forms.refuse_one(a, b)
    yield battle
    told_vote = {"kind": "human", "cast": UNDATED.isoformat(), **record, "battle_id": name}
    yield codec.to_vote(told_vote)


def _output(line: AnswerLine, system: System) -> Output:
    hits = tuple(
        RankedHit(docid, 1.0 / rank, rank, Passage(docid, ""), rank)
        for rank, docid in enumerate(line.answer.references, start=1)
    )
    return Output(system.name, system.digest, line.answer, hits)
