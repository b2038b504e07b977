"""Systems, battles and votes as JSON, and back: one form for the database and for files.

The same thing always has the same text (keys sorted, times in UTC to the microsecond), so that two texts
tell whether two things are the same. Reading is strict. Knows nothing of databases and files.
"""

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from ragnarok.arena.types import OUTCOMES, Battle, Outcome, Output, System, Vote, VoterKind
from ragnarok.types import Answer, Highlight, Passage, RankedHit, Sentence

Record = dict[str, Any]
T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
KINDS: tuple[VoterKind, ...] = ("human", "model")
"""The kinds of voters; their positions are their codes in the database."""


_WRITER = json.JSONEncoder(sort_keys=True, allow_nan=False)


def to_text(record: Mapping[str, Any]) -> str:
    """One line of JSON in ASCII, which every database and file can hold."""
    return _WRITER.encode(record)


def from_text(text: str | bytes) -> Record:
    """The JSON object in a text. Raises `ValueError`."""
    try:
        return _object(json.loads(text), "the text")
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def to_micros(time: datetime) -> int:
    """Microseconds since 1970; a time without a zone is one of UTC."""
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (aware - EPOCH) // timedelta(microseconds=1)


def from_micros(micros: int) -> datetime:
    """The time, in UTC, of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=micros)


def from_system(system: System) -> Record:
    """A system's JSON; its digest is told for people, and checked when it is read."""
    return {"name": system.name, "components": dict(system.components), "digest": system.digest}


def to_system(record: object) -> System:
    """The system of a JSON object. Raises `ValueError`."""
    fields = _fields(record, "a system", {"name", "components"}, {"digest"})
    components = _object(fields["components"], "components")
    system = System(
        _word(fields["name"], "name"), {key: _text(value, key) for key, value in components.items()}
    )
    if fields.get("digest", system.digest) != system.digest:
        raise ValueError(f"digest {fields['digest']!r} is not that of the components, {system.digest!r}")
    return system


def from_battle(battle: Battle) -> Record:
    """A battle's JSON, with both answers and all their evidence."""
    return {
        "battle_id": battle.battle_id,
        "created": _time(battle.created),
        "question": battle.question,
        "seed": battle.seed,
        "topics": battle.topics,
        "qid": battle.qid,
        "a": _from_output(battle.a),
        "b": _from_output(battle.b),
    }


def to_battle(record: object) -> Battle:
    """The battle of a JSON object. Raises `ValueError`."""
    wanted = {"battle_id", "created", "question", "seed", "a", "b"}
    fields = _fields(record, "a battle", wanted, {"topics", "qid"})
    battle = Battle(
        _word(fields["battle_id"], "battle_id"),
        _moment(fields["created"], "created"),
        _text(fields["question"], "question"),
        _whole(fields["seed"], "seed"),
        _to_output(fields["a"], "a"),
        _to_output(fields["b"], "b"),
        _maybe(fields.get("topics"), "topics", _word),
        _maybe(fields.get("qid"), "qid", _word),
    )
    check_battle(battle)
    return battle


def check_battle(battle: Battle) -> None:
    """Refuse, with `ValueError`, a system that meets itself."""
    if battle.a.system == battle.b.system:
        raise ValueError(f"{battle.a.system!r} meets itself; a battle is between two systems")


def from_vote(vote: Vote) -> Record:
    """A vote's JSON."""
    return {
        "battle_id": vote.battle_id,
        "voter": vote.voter,
        "kind": vote.kind,
        "cast": _time(vote.cast),
        "answer": vote.answer,
        "evidence": vote.evidence,
        "tags": list(vote.tags),
    }


def to_vote(record: object) -> Vote:
    """The vote of a JSON object. Raises `ValueError`."""
    wanted = {"battle_id", "voter", "kind", "cast"}
    fields = _fields(record, "a vote", wanted, {"answer", "evidence", "tags"})
    vote = Vote(
        _word(fields["battle_id"], "battle_id"),
        _word(fields["voter"], "voter"),
        _one_of(fields["kind"], "kind", KINDS),
        _moment(fields["cast"], "cast"),
        _maybe(fields.get("answer"), "answer", to_outcome),
        _maybe(fields.get("evidence"), "evidence", to_outcome),
        tuple(_text(tag, "tags") for tag in _list(fields.get("tags", []), "tags")),
    )
    check_vote(vote)
    return vote


def check_vote(vote: Vote) -> None:
    """Refuse, with `ValueError`, a vote that says nothing."""
    if vote.answer is None and vote.evidence is None:
        raise ValueError("votes on nothing; give answer, evidence or both")


def to_outcome(value: object, name: str = "outcome") -> Outcome:
    """One of `OUTCOMES`. Raises `ValueError`."""
    return _one_of(value, name, OUTCOMES)


def to_hit(record: object) -> RankedHit:
    """The hit of a JSON object, as `/v1/query` sends it; what is not ours is passed over.

    Raises `ValueError`.
    """
    # A battle has dozens of hits and sentences: reading them is most of an import.
    get = _object(record, "a hit").get
    docid = _text(get("docid"), "docid")
    passage = Passage(
        docid, _text(get("text", ""), "text"), _text(get("title", ""), "title"), _text(get("url", ""), "url")
    )
    marks = get("highlights", [])
    return RankedHit(
        docid,
        _number(get("score"), "score"),
        _whole(get("rank"), "rank"),
        passage,
        _whole(get("first_rank", 0), "first_rank"),
        _number(get("first_score", 0.0), "first_score"),
        () if marks == [] else tuple(map(_highlight, _list(marks, "highlights"))),
        get("cut") is True,
    )


def to_answer(query: str, record: object) -> Answer:
    """The answer of a JSON object, as `/v1/query` sends it. Raises `ValueError`."""
    fields = _object(record, "an answer")
    references = tuple(_text(docid, "references") for docid in _list(fields.get("references"), "references"))
    sentences = []
    for one in _list(fields.get("sentences"), "sentences"):
        sentence = to_sentence(one)
        if sentence.citations and max(sentence.citations) >= len(references):
            raise ValueError(
                f"a sentence cites {sentence.citations}, and there are {len(references)} references"
            )
        sentences.append(sentence)
    notes = tuple(_text(note, "notes") for note in _list(fields.get("notes", []), "notes"))
    return Answer(query, tuple(sentences), references, notes)


def to_sentence(record: object) -> Sentence:
    """The sentence of a JSON object, as the event `sentence` sends it. Raises `ValueError`."""
    fields = _object(record, "a sentence")
    cited = fields.get("citations", [])
    places = () if cited == [] else tuple([_whole(one, "citations") for one in _list(cited, "citations")])
    if places and min(places) < 0:
        raise ValueError(f"a sentence cites {places}; places count from 0")
    return Sentence(_text(fields.get("text"), "text"), places)


def to_style(record: object) -> tuple[int, int, int]:
    """The numbers of `types.STYLE` of an answer's JSON. Raises `ValueError`."""
    return Output("", "", to_answer("", record)).style


def to_timings(value: object) -> dict[str, float]:
    """Seconds by stage. Raises `ValueError`."""
    return {name: _number(seconds, name) for name, seconds in _object(value, "timings").items()}


def _from_output(output: Output) -> Record:
    return {
        "system": output.system,
        "digest": output.digest,
        "answer": _from_answer(output.answer),
        "hits": [_from_hit(hit) for hit in output.hits],
        "timings": dict(output.timings),
    }


def _from_answer(answer: Answer) -> Record:
    return {
        "query": answer.query,
        "sentences": [{"text": one.text, "citations": list(one.citations)} for one in answer.sentences],
        "references": list(answer.references),
        "notes": list(answer.notes),
    }


def _from_hit(hit: RankedHit) -> Record:
    passage = hit.passage
    return {
        "docid": hit.docid,
        "score": hit.score,
        "rank": hit.rank,
        "first_rank": hit.first_rank,
        "first_score": hit.first_score,
        "cut": hit.cut,
        "text": passage.text,
        "title": passage.title,
        "url": passage.url,
        "highlights": [
            {"start": mark.start, "end": mark.end, "weight": mark.weight} for mark in hit.highlights
        ],
    }


def _to_output(record: object, side: str) -> Output:
    try:
        fields = _fields(record, "an output", {"system", "digest", "answer"}, {"hits", "timings"})
        query = _object(fields["answer"], "answer").get("query")
        return Output(
            _word(fields["system"], "system"),
            _word(fields["digest"], "digest"),
            to_answer(_text(query, "query"), fields["answer"]),
            tuple(to_hit(hit) for hit in _list(fields.get("hits", []), "hits")),
            to_timings(fields.get("timings", {})),
        )
    except ValueError as error:
        raise ValueError(f"side {side}: {error}") from error


def _highlight(record: object) -> Highlight:
    fields = _object(record, "a highlight")
    return Highlight(
        _whole(fields.get("start"), "start"),
        _whole(fields.get("end"), "end"),
        _number(fields.get("weight"), "weight"),
    )


def _time(time: datetime) -> str:
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="microseconds")


def _moment(value: object, name: str) -> datetime:
    try:
        read = datetime.fromisoformat(_text(value, name))
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{name} is {value!r}, and not a time such as 2026-05-01T12:00:00+00:00") from None


def _fields(record: object, what: str, wanted: set[str], more: set[str]) -> Record:
    fields = _object(record, what)
    if missing := sorted(wanted - fields.keys()):
        raise ValueError(f"{what} has {', '.join(sorted(wanted))}; this one lacks {', '.join(missing)}")
    if unknown := sorted(fields.keys() - wanted - more):
        raise ValueError(f"{what} has no {unknown[0]!r}, only {', '.join(sorted(wanted | more))}")
    return fields


def _object(value: object, name: str) -> Record:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no JSON object but {_shown(value)}")
    return value


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{name} is no list but {_shown(value)}")
    return list(value)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is no string but {_shown(value)}")
    return value


def _word(value: object, name: str) -> str:
    """A string that names something: visible, in one line, and not long."""
    text = _text(value, name)
    if not text.strip() or not text.isprintable() or len(text) > 200:
        raise ValueError(f"{name} is {_shown(value)}; it has 1 to 200 characters, all of them printable")
    return text


def _whole(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} is no whole number but {_shown(value)}")
    return value


def _number(value: object, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} is no finite number but {_shown(value)}")
    return value


def _one_of(value: object, name: str, allowed: tuple[T, ...]) -> T:
    for known in allowed:
        if value == known:
            return known
    raise ValueError(f"{name} is {_shown(value)}, and not one of {', '.join(map(str, allowed))}")


def _maybe(value: object, name: str, read: Callable[[object, str], T]) -> T | None:
    return None if value is None else read(value, name)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
