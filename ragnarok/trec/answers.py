"""Answer records of TREC RAG 2024, 2025 and 2026: one JSON object a line.

`fit_answer` trims an answer to a year's limits and says so in its notes; `answer_record` makes the
record and refuses one that breaks a rule; `check_record` tells what is wrong with any record.

Knows nothing of how answers are made. Citations are written as positions in the references; those
read may also be docids, as 2025 and 2026 allow.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeGuard

from ragnarok.errors import BadFormat
from ragnarok.trec.files import bad_line, read_lines, write_lines
from ragnarok.trec.rules import RULES, Rules, Year, tag_problem
from ragnarok.types import Answer, Sentence, Topic

__all__ = [
    "AnswerLine",
    "answer_record",
    "check_record",
    "fit_answer",
    "names_of",
    "read_answers",
    "write_answers",
]

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class AnswerLine:
    """A record as read: the answer, the topic it answers, and the run and year it belongs to."""

    topic: Topic
    answer: Answer
    run_id: str
    year: Year


def answer_record(
    answer: Answer,
    topic: Topic,
    *,
    year: Year,
    run_id: str,
    team_id: str = "ragnarok",
    description: str = "",
    prompt: str | None = None,
    kind: Literal["automatic", "manual"] = "automatic",
) -> Record:
    """Make an answer's record in that year's form.

    Raises:
        BadFormat: the answer is over that year's limits (`fit_answer` trims it), or otherwise invalid.
    """
    sentences = [{"text": s.text, "citations": list(s.citations)} for s in answer.sentences]
    references = list(answer.references)
    if year == 2024:
        record: Record = {
            "run_id": run_id,
            "topic_id": topic.qid,
            "topic": topic.text,
            "references": references,
            "response_length": RULES[2024].count_words(answer.text),
            "answer": sentences,
        }
    else:
        metadata = {"team_id": team_id, "run_id": run_id, "type": kind}
        metadata |= {"run_desc": description} if year == 2026 else {}
        metadata |= {"narrative_id": topic.qid, "narrative": topic.text}
        metadata |= {} if prompt is None else {"prompt": prompt}
        record = {"metadata": metadata, "references": references, "answer": sentences}
    if problems := check_record(record, year, [topic]):
        raise BadFormat(f"answer to topic {topic.qid!r}, {year}: {'; '.join(problems)} (see fit_answer)")
    return record


def fit_answer(answer: Answer, year: Year) -> Answer:
    """Trim an answer to that year's limits; its notes say what was left out.

    Sentences are dropped whole from the end (only a first sentence that is too long alone is cut to
    words), citations from the end of a sentence, and references by how much the rest cites them: each
    citation counts 1/(its position in its sentence). What is left is renumbered; references that only
    dropped text cited go too.
    """
    rules = RULES[year]
    notes = []
    sentences = _fit_words(answer.sentences, rules)
    if sentences != answer.sentences:
        dropped = len(answer.sentences) - len(sentences)
        what = f"the last {dropped} sentence(s) dropped" if dropped else "its only sentence cut"
        if dropped and sentences[0] != answer.sentences[0]:
            what += ", the first one cut"
        notes.append(f"answer over {rules.words} words: {what}")
    if any(rules.citations is not None and len(s.citations) > rules.citations for s in sentences):
        sentences = tuple(replace(s, citations=s.citations[: rules.citations]) for s in sentences)
        notes.append(f"over {rules.citations} citations in a sentence: the first ones kept")
    weights = dict.fromkeys(range(len(answer.references)), 0.0) if sentences == answer.sentences else {}
    for sentence in sentences:
        for position, citation in enumerate(sentence.citations):
            weights[citation] = weights.get(citation, 0.0) + 1 / (position + 1)
    best = sorted(weights, key=lambda citation: (-weights[citation], citation))[: rules.references]
    if len(best) < len(weights):
        notes.append(
            f"over {rules.references} references: the {len(weights) - len(best)} least cited dropped"
        )
    number = {old: new for new, old in enumerate(sorted(best))}
    return replace(
        answer,
        sentences=tuple(
            replace(s, citations=tuple(number[c] for c in s.citations if c in number)) for s in sentences
        ),
        references=tuple(answer.references[old] for old in number),
        notes=(*answer.notes, *notes),
    )


def check_record(record: object, year: Year, topics: Sequence[Topic] | None = None) -> list[str]:
    """What that year's track would refuse in a record; [] is nothing.

    With `topics`, the record's topic must be one of them, and in 2026 repeat its text exactly.
    """
    rules = RULES[year]
    if not isinstance(record, Mapping):
        return ["is not a JSON object"]
    problems = _head_problems(record, year, topics)
    references, sentences = record.get("references"), record.get("answer")
    if not _is_strings(references):
        return [*problems, "references is not a list of docids"]
    if not isinstance(sentences, list):
        return [*problems, "answer is not a list of sentences"]
    if len(set(references)) < len(references):
        problems.append("references are not unique")
    if rules.references is not None and len(references) > rules.references:
        problems.append(f"{len(references)} references, the limit is {rules.references}")
    texts = []
    for number, sentence in enumerate(sentences, start=1):
        text = sentence.get("text") if isinstance(sentence, Mapping) else None
        if not isinstance(text, str) or not text.strip():
            problems.append(f"sentence {number} has no text")
            continue
        texts.append(text)
        problems += (f"sentence {number} {what}" for what in _citation_problems(sentence, references, year))
    words = rules.count_words(" ".join(texts))
    if words > rules.words:
        problems.append(f"{words} words, the limit is {rules.words}")
    if year == 2024 and record.get("response_length") != words:
        problems.append(f"response_length is {record.get('response_length')!r}, the answer has {words} words")
    return problems


def names_of(record: object, year: Year) -> tuple[str | None, str | None]:
    """The ids of the topic and the run of any record; None for what it lacks."""
    place = record if year == 2024 or not isinstance(record, Mapping) else record.get("metadata")
    head = place if isinstance(place, Mapping) else {}
    qid, run_id = head.get("topic_id" if year == 2024 else "narrative_id"), head.get("run_id")
    return str(qid) if _is_id(qid) else None, run_id if isinstance(run_id, str) else None


def write_answers(path: str | Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write records, one JSON object a line; the file appears only when it is complete."""
    write_lines(Path(path), (json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records))


def read_answers(path: str | Path) -> list[AnswerLine]:
    """Read answer records of any of the three years, told apart by their fields.

    Limits are not applied (`check_record` does that), but what is read never dangles.

    Raises:
        NotFound: there is no such file.
        BadFormat: a line is no record, a citation points nowhere, or there are no lines.
    """
    path = Path(path)
    lines = []
    for number, line in read_lines(path):
        try:
            lines.append(_read(json.loads(line)))
        except (json.JSONDecodeError, RecursionError) as error:
            raise bad_line(path, number, f"is not JSON ({error})") from error
        except ValueError as error:
            raise bad_line(path, number, str(error)) from error
    if not lines:
        raise BadFormat(f"{path}: has no answers")
    return lines


def _fit_words(sentences: tuple[Sentence, ...], rules: Rules) -> tuple[Sentence, ...]:
    kept: list[Sentence] = []
    left = rules.words
    for sentence in sentences:
        left -= rules.count_words(sentence.text)
        if left < 0:
            break
        kept.append(sentence)
    if not sentences or kept:
        return tuple(kept)
    words = sentences[0].text.split()[: rules.words]
    while rules.count_words(" ".join(words)) > rules.words:  # NFKC can make two words of one
        words.pop()
    return (replace(sentences[0], text=" ".join(words)),)


def _head_problems(record: Mapping[str, Any], year: Year, topics: Sequence[Topic] | None) -> list[str]:
    """What is wrong with a record's description of its run and topic."""
    problems = []
    head = record if year == 2024 else record.get("metadata")
    if not isinstance(head, Mapping):
        return ["metadata is missing"]
    id_key, text_key = ("topic_id", "topic") if year == 2024 else ("narrative_id", "narrative")
    strings = ["run_id", text_key]
    if year != 2024:
        strings += [
            "team_id",
            *(["run_desc"] if year == 2026 else []),
            *(["prompt"] if "prompt" in head else []),
        ]
        if head.get("type") not in {"automatic", "manual"}:
            problems.append(f"type is {head.get('type')!r}, not 'automatic' or 'manual'")
    problems += [f"{key} is not a string" for key in strings if not isinstance(head.get(key), str)]
    if isinstance(run_id := head.get("run_id"), str) and (problem := tag_problem(run_id)):
        problems.append(problem)
    qid = head.get(id_key)
    if not _is_id(qid):
        problems.append(f"{id_key} is not a string or whole number")
    elif topics is not None:
        text = next((topic.text for topic in topics if topic.qid == str(qid)), None)
        if text is None:
            problems.append(f"{id_key} {qid!r} is not one of the {len(topics)} topics")
        elif year == 2026 and head.get(text_key) != text:
            problems.append(f"narrative of {qid!r} is not exactly the topic's text")
    return problems


def _citation_problems(sentence: Mapping[str, Any], references: list[str], year: Year) -> Iterable[str]:
    limit = RULES[year].citations
    citations = sentence.get("citations")
    if not isinstance(citations, list):
        yield "has no list of citations"
        return
    if limit is not None and len(citations) > limit:
        yield f"has {len(citations)} citations, the limit is {limit}"
    positions = []
    for citation in citations:
        if year == 2024 and isinstance(citation, str):
            yield f"cites {citation!r}, not a position in references"
            continue
        try:
            positions.append(_position(citation, references))
        except ValueError as error:
            yield str(error)
    if len(set(positions)) < len(positions):
        yield "cites a reference twice"


def _read(record: object) -> AnswerLine:
    """A record's line; ValueError says what is wrong."""
    if not isinstance(record, dict):
        raise ValueError("is not a JSON object")
    metadata = record.get("metadata")
    year: Year = 2024 if metadata is None else 2025
    head = record if metadata is None else metadata
    if not isinstance(head, dict):
        raise ValueError("metadata is not a JSON object")
    if year == 2025 and "run_desc" in head:
        year = 2026
    id_key, text_key = ("topic_id", "topic") if year == 2024 else ("narrative_id", "narrative")
    qid, query, run_id = head.get(id_key), head.get(text_key), head.get("run_id")
    if not _is_id(qid) or not isinstance(query, str) or not isinstance(run_id, str):
        raise ValueError(f"lacks run_id, {id_key} or {text_key}, as strings")
    references, parts = record.get("references"), record.get("answer")
    if not _is_strings(references) or not isinstance(parts, list):
        raise ValueError("references is not a list of docids, or answer not a list of sentences")
    if len(set(references)) < len(references):
        raise ValueError("references are not unique")
    sentences = []
    for number, part in enumerate(parts, start=1):
        if not (isinstance(part, dict) and isinstance(part.get("text"), str)):
            raise ValueError(f"sentence {number} has no text")
        if not isinstance(citations := part.get("citations"), list):
            raise ValueError(f"sentence {number} has no list of citations")
        try:
            positions = dict.fromkeys(_position(citation, references) for citation in citations)
        except ValueError as error:
            raise ValueError(f"sentence {number} {error}") from error
        sentences.append(Sentence(part["text"], tuple(positions)))
    answer = Answer(query, tuple(sentences), tuple(references))
    return AnswerLine(Topic(str(qid), query), answer, run_id, year)


def _position(citation: object, references: list[str]) -> int:
    """A citation, by position or by docid, as a position; ValueError when it points nowhere."""
    if isinstance(citation, str) and citation in references:
        return references.index(citation)
    if isinstance(citation, int) and not isinstance(citation, bool) and 0 <= citation < len(references):
        return citation
    raise ValueError(f"cites {citation!r}, which is not among the {len(references)} references")


def _is_id(value: object) -> TypeGuard[str | int]:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _is_strings(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)
