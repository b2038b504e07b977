"""Batch runs that survive being stopped: one durable record a topic, and the TREC files at the end.

A run's folder holds `progress.jsonl`, whose first line says with which settings it was started and whose
others are finished topics, each written and synced before the next begins. Started again with the same
settings, a run goes on after the last whole record; with others it is refused.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from ragnarok.errors import BadFormat, RunConflict
from ragnarok.pipeline import Pipeline
from ragnarok.trec import RunEntry, Year, answer_record, check_tag, fit_answer, write_answers, write_run
from ragnarok.types import Answer, Sentence, Topic

PROGRESS = "progress.jsonl"


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What is written: a run of `depth` hits under `tag`, and answers in that `year`'s form if wanted."""

    tag: str
    year: Year = 2025
    depth: int = 100
    answers: bool = True
    team: str = "ragnarok"
    description: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished topic."""

    qid: str
    hits: tuple[tuple[str, float], ...]
    answer: Answer | None
    seconds: dict[str, float]


def run_batch(
    pipeline: Pipeline,
    topics: Sequence[Topic],
    folder: Path,
    options: BatchOptions,
    settings: Mapping[str, object],
    progress: Callable[[str, int, int | None], None] = lambda *_: None,
) -> list[Path]:
    """Run every topic that is not done yet, then write `run.TAG.trec` and `answers.TAG.jsonl`.

    `settings` are everything that changes the result; they are kept with the progress and compared.
    Returns the files written. Raises `RunConflict`, `BadFormat` and the pipeline's errors; topics finished
    before an error stay finished.
    """
    check_tag(options.tag)
    folder.mkdir(parents=True, exist_ok=True)
    journal = folder / PROGRESS
    header = json.loads(json.dumps({"settings": dict(settings), "options": asdict(options)}))
    done = _resume(journal, header)
    with journal.open("a", encoding="utf-8") as log:
        for topic in topics:
            progress("topics", len(done), len(topics))
            if topic.qid not in done:
                done[topic.qid] = _run_topic(pipeline, topic, options)
                _append(log, asdict(done[topic.qid]))
        progress("topics", len(done), len(topics))
    run = {
        topic.qid: [
            RunEntry(docid, rank, score, options.tag)
            for rank, (docid, score) in enumerate(done[topic.qid].hits, start=1)
        ]
        for topic in topics
    }
    written = [folder / f"run.{options.tag}.trec"]
    write_run(written[0], run, options.tag, depth=options.depth)
    if options.answers:
        written.append(folder / f"answers.{options.tag}.jsonl")
        records = [
            answer_record(
                fit_answer(done[topic.qid].answer or Answer(topic.text), options.year),
                topic,
                year=options.year,
                run_id=options.tag,
                team_id=options.team,
                description=options.description,
            )
            for topic in topics
        ]
        write_answers(written[1], records)
    return written


def _run_topic(pipeline: Pipeline, topic: Topic, options: BatchOptions) -> Done:
    if not options.answers:
        _, ranked = pipeline.rank(topic.text, depth=options.depth)
        return Done(topic.qid, tuple((hit.docid, hit.score) for hit in ranked), None, {})
    result = pipeline.ask(topic.text, depth=options.depth)
    return Done(topic.qid, tuple((h.docid, h.score) for h in result.hits), result.answer, result.timings)


def _append(log: TextIO, record: object) -> None:
    log.write(json.dumps(record, ensure_ascii=False) + "\n")
    log.flush()
    os.fsync(log.fileno())


def _resume(journal: Path, header: dict[str, object]) -> dict[str, Done]:
    """What an earlier start has finished; begins the journal if there is none."""
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    if lines and not lines[-1].endswith(b"\n"):
        # The record that was being written when the run was stopped.
        lines.pop()
        _truncate(journal, sum(map(len, lines)))
    if not lines:
        with journal.open("w", encoding="utf-8") as log:
            _append(log, header)
        return {}
    try:
        first, *records = [json.loads(line) for line in lines]
        finished = [_done(record) for record in records]
    except (ValueError, KeyError, TypeError) as error:
        raise BadFormat(f"{journal} is damaged ({error}); remove it to start this run afresh") from error
    if first != header:
        changed = ", ".join(_differences(first, header))
        raise RunConflict(
            f"{journal.parent} holds a run with other settings ({changed}); give another folder or remove it"
        )
    return {done.qid: done for done in finished}


def _truncate(journal: Path, size: int) -> None:
    with journal.open("r+b") as log:
        log.truncate(size)


def _done(record: dict[str, Any]) -> Done:
    answer = record["answer"]
    if answer is not None:
        sentences = tuple(Sentence(s["text"], tuple(s["citations"])) for s in answer["sentences"])
        answer = Answer(answer["query"], sentences, tuple(answer["references"]), tuple(answer["notes"]))
    hits = tuple((str(docid), float(score)) for docid, score in record["hits"])
    return Done(record["qid"], hits, answer, record["seconds"])


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [
        f"{name}: {old.get(part, {}).get(name)!r}, now {value!r}"
        for part, values in new.items()
        for name, value in values.items()
        if old.get(part, {}).get(name) != value
    ]
