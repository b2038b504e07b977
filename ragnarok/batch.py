"""Batch runs that survive being stopped: one durable record a topic, and the TREC files at the end.

A run's folder holds `progress.jsonl`, whose first line says with which settings it was started and whose
others are finished topics, each written and synced before the next begins. Started again with the same
settings, a run goes on after the last whole record; with others, or while it is under way, it is refused.
"""

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexes.errors import DiskFull
from ragnarok.errors import BadFormat, BadQuery, NotFound, RunConflict
from ragnarok.pipeline import Pipeline
from ragnarok.query import clean_topic
from ragnarok.trec import RunEntry, Year, answer_record, check_tag, fit_answer, write_answers, write_run
from ragnarok.types import Answer, Sentence, Topic

PROGRESS = "progress.jsonl"
PARTS = ("settings", "options")
"""What the first line holds."""


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
    """A finished topic; `text` is its question."""

    qid: str
    text: str
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
    for topic in topics:
        clean_topic(topic)  # What would stop the run once it came to it is refused now.
    journal = folder / PROGRESS
    header = json.loads(json.dumps({"settings": dict(settings), "options": asdict(options)}))
    with ExitStack() as held:
        with _writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(_claimed(journal))
            done = _resume(journal, header)
        _check_topics(folder, topics, done)
        for number, topic in enumerate(topics):
            progress("topics", number, len(topics))
            if topic.qid not in done:
                done[topic.qid] = _run_topic(pipeline, topic, options)
                with _writing(folder):
                    _append(journal, asdict(done[topic.qid]))
        progress("topics", len(topics), len(topics))
        return _write(folder, topics, done, options)


def _write(
    folder: Path, topics: Sequence[Topic], done: Mapping[str, Done], options: BatchOptions
) -> list[Path]:
    """Write the run and, if wanted, the answers in the year's form."""
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
    """Raises what the pipeline does; `BadQuery` names the topic."""
    try:
        return _done_by(pipeline, topic, options)
    except BadQuery as error:
        raise BadQuery(f"topic {topic.qid!r}: {error}") from error


def _done_by(pipeline: Pipeline, topic: Topic, options: BatchOptions) -> Done:
    if not options.answers:
        _, ranked = pipeline.rank(topic.text, depth=options.depth)
        return Done(topic.qid, topic.text, tuple((h.docid, h.score) for h in ranked), None, {})
    result = pipeline.ask(topic.text, depth=options.depth)
    hits = tuple((hit.docid, hit.score) for hit in result.hits)
    return Done(topic.qid, topic.text, hits, result.answer, result.timings)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turns what the system says of a folder that cannot be written into errors of ours."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(
                f"{folder}: {reason}; make room and start again: finished topics are kept"
            ) from error
        raise NotFound(f"{folder}: cannot be written ({reason}); choose another folder") from error


@contextmanager
def _claimed(journal: Path) -> Iterator[None]:
    """Hold a run against others in its folder; the claim dies with its process. Raises `RunConflict`."""
    with journal.open("ab") as claim:
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunConflict(
                f"a run is under way in {journal.parent}: wait for its end, or give another folder"
            ) from None
        except OSError:
            pass  # A file system that has no locks.
        yield


def _check_topics(folder: Path, topics: Sequence[Topic], done: Mapping[str, Done]) -> None:
    """Refuse a topic that was finished with another text: its answer would stand under the new question."""
    for topic in topics:
        if topic.qid in done and done[topic.qid].text != topic.text:
            raise RunConflict(
                f"{folder} holds a run with another text of topic {topic.qid!r} "
                f"({done[topic.qid].text!r}, now {topic.text!r}); give another folder or remove it"
            )


def _append(journal: Path, record: object) -> None:
    """Add a whole line, on the disk before the next topic begins; after a failure nothing of it is left."""
    with journal.open("ab") as log:
        size = log.tell()
        try:
            log.write((json.dumps(record, ensure_ascii=False) + "\n").encode())
            log.flush()
            os.fsync(log.fileno())
        except OSError:
            log.truncate(size)
            raise


def _resume(journal: Path, header: dict[str, object]) -> dict[str, Done]:
    """What an earlier start has finished; begins the journal if there is none."""
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    if lines and not lines[-1].endswith(b"\n"):
        # The record that was being written when the run was stopped.
        lines.pop()
        _truncate(journal, sum(map(len, lines)))
    if not lines:
        _append(journal, header)
        return {}
    finished: list[Done] = []
    try:
        first = _header(json.loads(lines[0]))
        finished.extend(_done(json.loads(line)) for line in lines[1:])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise BadFormat(
            f"{journal} is damaged ({error}) after {len(finished)} whole topics; "
            "remove it to start this run afresh"
        ) from error
    if first != header:
        changed = ", ".join(_differences(first, header))
        raise RunConflict(
            f"{journal.parent} holds a run with other settings ({changed}); give another folder or remove it"
        )
    return {done.qid: done for done in finished}


def _truncate(journal: Path, size: int) -> None:
    with journal.open("r+b") as log:
        log.truncate(size)


def _header(first: object) -> dict[str, Any]:
    """The settings a run was started with: the first line, if it is one."""
    if not (isinstance(first, dict) and all(isinstance(first.get(part), dict) for part in PARTS)):
        raise ValueError("it does not say with which settings the run was started")
    return first


def _done(record: dict[str, Any]) -> Done:
    answer = record["answer"]
    if answer is not None:
        sentences = tuple(Sentence(s["text"], tuple(s["citations"])) for s in answer["sentences"])
        answer = Answer(answer["query"], sentences, tuple(answer["references"]), tuple(answer["notes"]))
    hits = tuple((str(docid), float(score)) for docid, score in record["hits"])
    return Done(record["qid"], record["text"], hits, answer, record["seconds"])


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    found = [
        f"{name}: {old[part].get(name)!r}, now {new[part].get(name)!r}"
        for part in PARTS
        for name in old[part] | new[part]
        if old[part].get(name) != new[part].get(name)
    ]
    return list(dict.fromkeys(found))  # The depth is among both parts.
