"""The one form that systems, battles and votes have as JSON: what is read is checked, and put into it.

Each function takes what a line of JSON may hold and gives a new object of the full set of members, sorted by
name, defaults filled in, times in UTC to the microsecond; what is wrong is a `ValueError` that says where.
Unknown members are refused, but in hits, answers and sentences, as `/v1/query` sends them, they are passed
over. Knows nothing of the types that are made of it, which are `codec`'s.
"""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from ragnarok.arena.orders import settled
from ragnarok.arena.types import OUTCOMES, Outcome, System, VoterKind, style_of

Record = dict[str, Any]
T = TypeVar("T")

KINDS: tuple[VoterKind, ...] = ("human", "model")
"""The kinds of voters; their positions are their codes in the database."""

ORDERS = ("answer_orders", "evidence_orders")
"""A vote's members that say what a judge said in both orders."""

# The members that each has to have, and those that it may have, too.
_SYSTEM = frozenset({"name", "components"}), frozenset({"digest"})
_BATTLE = frozenset({"battle_id", "created", "question", "seed", "a", "b"}), frozenset({"topics", "qid"})
_OUTPUT = frozenset({"system", "digest", "answer"}), frozenset({"hits", "timings"})
_VOTE = (
    frozenset({"battle_id", "voter", "kind", "cast"}),
    frozenset({"answer", "evidence", "tags", *ORDERS}),
)


def system_form(record: object) -> Record:
    """Of a system; its digest may be left out."""
    told = _fields(record, "a system", *_SYSTEM)
    components = object_of(told["components"], "components")
    name = _word(told["name"], "name")
    digest = System(name, {key: _text(value, key) for key, value in components.items()}).digest
    if told.get("digest", digest) != digest:
        raise ValueError(f"digest {told['digest']!r} is not that of the components, {digest!r}")
    return {"components": dict(sorted(components.items())), "digest": digest, "name": name}


def battle_form(record: object) -> Record:
    """Of a battle, with both answers and all their evidence."""
    told = _fields(record, "a battle", *_BATTLE)
    form: Record = {
        "a": _output_form(told["a"], "a"),
        "b": _output_form(told["b"], "b"),
        "battle_id": _word(told["battle_id"], "battle_id"),
        "created": _time(told["created"], "created"),
        "qid": _maybe(told.get("qid"), "qid", _word),
        "question": _text(told["question"], "question"),
        "seed": _whole(told["seed"], "seed"),
        "topics": _maybe(told.get("topics"), "topics", _word),
    }
    refuse_one(form["a"]["system"], form["b"]["system"])
    return form


def refuse_one(a: str, b: str) -> None:
    """Refuse, with `ValueError`, a system that meets itself."""
    if a == b:
        raise ValueError(f"{a!r} meets itself; a battle is between two systems")


def vote_form(record: object) -> Record:
    """Of a vote."""
    told = _fields(record, "a vote", *_VOTE)
    form: Record = {
        "answer": _maybe(told.get("answer"), "answer", _outcome),
        "answer_orders": _maybe(told.get("answer_orders"), "answer_orders", _orders),
        "battle_id": _word(told["battle_id"], "battle_id"),
        "cast": _time(told["cast"], "cast"),
        "evidence": _maybe(told.get("evidence"), "evidence", _outcome),
        "evidence_orders": _maybe(told.get("evidence_orders"), "evidence_orders", _orders),
        "kind": _one_of(told["kind"], "kind", KINDS),
        "tags": [_text(tag, "tags") for tag in _list(told.get("tags", []), "tags")],
        "voter": _word(told["voter"], "voter"),
    }
    if form["answer"] is None and form["evidence"] is None:
        raise ValueError("votes on nothing; give answer, evidence or both")
    for board, name in zip(("answer", "evidence"), ORDERS, strict=True):
        if form[name] is None:
            continue
        if form["kind"] != "model":
            raise ValueError(f"{name} is a model's alone, and this is a {form['kind']}'s vote")
        first, second = form[name]
        if (comes_to := settled((first, second))) != form[board]:
            raise ValueError(f"{name} is {first}, {second}, which is {comes_to!r} and not {form[board]!r}")
    return form


def hit_form(record: object) -> Record:
    """Of a hit."""
    get = object_of(record, "a hit").get
    return {
        "cut": get("cut") is True,
        "docid": _text(get("docid"), "docid"),
        "first_rank": _whole(get("first_rank", 0), "first_rank"),
        "first_score": _number(get("first_score", 0.0), "first_score"),
        "highlights": [_mark_form(one) for one in _list(get("highlights", []), "highlights")],
        "rank": _whole(get("rank"), "rank"),
        "score": _number(get("score"), "score"),
        "text": _text(get("text", ""), "text"),
        "title": _text(get("title", ""), "title"),
        "url": _text(get("url", ""), "url"),
    }


def answer_form(record: object, query: str | None = None) -> Record:
    """Of an answer to `query`, or to the one that it names itself."""
    told = object_of(record, "an answer")
    references = _list(told.get("references"), "references")
    for docid in references:
        _text(docid, "references")
    sentences = [sentence_form(one) for one in _list(told.get("sentences"), "sentences")]
    for one in sentences:
        if one["citations"] and max(one["citations"]) >= len(references):
            cited = tuple(one["citations"])
            raise ValueError(f"a sentence cites {cited}, and there are {len(references)} references")
    return {
        "notes": [_text(note, "notes") for note in _list(told.get("notes", []), "notes")],
        "query": _text(told.get("query"), "query") if query is None else query,
        "references": references,
        "sentences": sentences,
    }


def sentence_form(record: object) -> Record:
    """Of a sentence."""
    told = object_of(record, "a sentence")
    cited = _list(told.get("citations", []), "citations")
    for place in cited:
        if _whole(place, "citations") < 0:
            raise ValueError(f"a sentence cites {tuple(cited)}; places count from 0")
    return {"citations": cited, "text": _text(told.get("text"), "text")}


def timings_form(value: object) -> dict[str, float]:
    """Of seconds by stage."""
    return {name: _number(seconds, name) for name, seconds in sorted(object_of(value, "timings").items())}


def style_of_form(answer: Record) -> tuple[int, int, int]:
    """The numbers of `types.STYLE` of an answer's form."""
    return style_of([(one["text"], one["citations"]) for one in answer["sentences"]])


def object_of(value: object, name: str) -> Record:
    """A JSON object."""
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no JSON object but {_shown(value)}")
    return value


def _output_form(record: object, side: str) -> Record:
    try:
        told = _fields(record, "an output", *_OUTPUT)
        return {
            "answer": answer_form(told["answer"]),
            "digest": _word(told["digest"], "digest"),
            "hits": [hit_form(hit) for hit in _list(told.get("hits", []), "hits")],
            "system": _word(told["system"], "system"),
            "timings": timings_form(told.get("timings", {})),
        }
    except ValueError as error:
        raise ValueError(f"side {side}: {error}") from error


def _mark_form(record: object) -> Record:
    get = object_of(record, "a highlight").get
    return {
        "end": _whole(get("end"), "end"),
        "start": _whole(get("start"), "start"),
        "weight": _number(get("weight"), "weight"),
    }


def _time(value: object, name: str) -> str:
    try:
        read = datetime.fromisoformat(_text(value, name))
        aware = read if read.tzinfo else read.replace(tzinfo=UTC)
        return aware.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        raise ValueError(f"{name} is {value!r}, and not a time such as 2026-05-01T12:00:00+00:00") from None


def _outcome(value: object, name: str) -> Outcome:
    return _one_of(value, name, OUTCOMES)


def _orders(value: object, name: str) -> list[Outcome]:
    said = [_outcome(one, name) for one in _list(value, name)]
    if len(said) != 2:
        raise ValueError(f"{name} is two verdicts, one for each order, not {_shown(value)}")
    return said


def _fields(record: object, what: str, wanted: frozenset[str], more: frozenset[str]) -> Record:
    told = object_of(record, what)
    if not wanted <= told.keys():
        missing = sorted(wanted - told.keys())
        raise ValueError(f"{what} has {', '.join(sorted(wanted))}; this one lacks {', '.join(missing)}")
    if len(told) > len(wanted) and (unknown := sorted(told.keys() - wanted - more)):
        raise ValueError(f"{what} has no {unknown[0]!r}, only {', '.join(sorted(wanted | more))}")
    return told


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is no list but {_shown(value)}")
    return value


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
    # A whole number may be greater than any float; NaN is not less than anything.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise ValueError(f"{name} is no finite number but {_shown(value)}")
    return value


def _one_of(value: object, name: str, allowed: Sequence[T]) -> T:
    for known in allowed:
        if value == known:
            return known
    raise ValueError(f"{name} is {_shown(value)}, and not one of {', '.join(map(str, allowed))}")


def _maybe(value: object, name: str, read: Callable[[object, str], T]) -> T | None:
    return None if value is None else read(value, name)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
