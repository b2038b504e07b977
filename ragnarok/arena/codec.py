"""Systems, battles and votes as JSON, and back: one form for the database and for files.

The same thing always has the same text (keys sorted, times in UTC to the microsecond), so that two texts
tell whether two things are the same. What is read is checked by `forms`. Knows nothing of databases and
files.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ragnarok.arena import forms
from ragnarok.arena.types import Battle, Outcome, Output, System, Verdicts, Vote
from ragnarok.types import Answer, Highlight, Passage, RankedHit, Sentence

Record = forms.Record

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# What is written was read or made here: nothing in it holds itself.
_WRITER = json.JSONEncoder(sort_keys=True, allow_nan=False, check_circular=False)
_FORM_WRITER = json.JSONEncoder(allow_nan=False, check_circular=False)


def to_text(record: Mapping[str, Any]) -> str:
    """One line of JSON in ASCII, which every database and file can hold."""
    return _WRITER.encode(record)


def form_text(form: Record) -> str:
    """As `to_text`, of what `forms` made, whose members are sorted already."""
    return _FORM_WRITER.encode(form)


def from_text(text: str | bytes) -> Record:
    """The JSON object in a text. Raises `ValueError`."""
    try:
        return forms.object_of(json.loads(text), "the text")
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
    form = forms.system_form(record)
    return System(form["name"], form["components"])


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
    form = forms.battle_form(record)
    return Battle(
        form["battle_id"],
        datetime.fromisoformat(form["created"]),
        form["question"],
        form["seed"],
        _output(form["a"]),
        _output(form["b"]),
        form["topics"],
        form["qid"],
    )


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
        "answer_orders": None if vote.answer_orders is None else list(vote.answer_orders),
        "evidence_orders": None if vote.evidence_orders is None else list(vote.evidence_orders),
    }


def to_vote(record: object) -> Vote:
    """The vote of a JSON object. Raises `ValueError`."""
    form = forms.vote_form(record)
    return Vote(
        form["battle_id"],
        form["voter"],
        form["kind"],
        datetime.fromisoformat(form["cast"]),
        form["answer"],
        form["evidence"],
        tuple(form["tags"]),
        _verdicts(form["answer_orders"]),
        _verdicts(form["evidence_orders"]),
    )


def to_hit(record: object) -> RankedHit:
    """The hit of a JSON object, as `/v1/query` sends it; what is not ours is passed over.

    Raises `ValueError`.
    """
    return _hit(forms.hit_form(record))


def to_answer(query: str, record: object) -> Answer:
    """The answer of a JSON object, as `/v1/query` sends it. Raises `ValueError`."""
    return _answer(forms.answer_form(record, query))


def to_sentence(record: object) -> Sentence:
    """The sentence of a JSON object, as the event `sentence` sends it. Raises `ValueError`."""
    return _sentence(forms.sentence_form(record))


def to_timings(value: object) -> dict[str, float]:
    """Seconds by stage. Raises `ValueError`."""
    return forms.timings_form(value)


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
        "sentences": [{"citations": list(one.citations), "text": one.text} for one in answer.sentences],
        "references": list(answer.references),
        "notes": list(answer.notes),
    }


def _from_hit(hit: RankedHit) -> Record:
    passage = hit.passage
    return {
        "cut": hit.cut,
        "docid": hit.docid,
        "first_rank": hit.first_rank,
        "first_score": hit.first_score,
        "highlights": [
            {"end": mark.end, "start": mark.start, "weight": mark.weight} for mark in hit.highlights
        ],
        "rank": hit.rank,
        "score": hit.score,
        "text": passage.text,
        "title": passage.title,
        "url": passage.url,
    }


def _output(form: Record) -> Output:
    hits = tuple(map(_hit, form["hits"]))
    return Output(form["system"], form["digest"], _answer(form["answer"]), hits, form["timings"])


def _answer(form: Record) -> Answer:
    sentences = tuple(map(_sentence, form["sentences"]))
    return Answer(form["query"], sentences, tuple(form["references"]), tuple(form["notes"]))


def _sentence(form: Record) -> Sentence:
    return Sentence(form["text"], tuple(form["citations"]))


def _hit(form: Record) -> RankedHit:
    docid = form["docid"]
    return RankedHit(
        docid,
        form["score"],
        form["rank"],
        Passage(docid, form["text"], form["title"], form["url"]),
        form["first_rank"],
        form["first_score"],
        tuple(Highlight(mark["start"], mark["end"], mark["weight"]) for mark in form["highlights"]),
        form["cut"],
    )


def _verdicts(form: list[Outcome] | None) -> Verdicts | None:
    return None if form is None else (form[0], form[1])


def _time(time: datetime) -> str:
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return aware.astimezone(UTC).isoformat(timespec="microseconds")
