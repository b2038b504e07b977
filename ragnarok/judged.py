"""A judged collection in BEIR's layout, as lists to fit on or to measure with.

`FOLDER/corpus.jsonl[.gz]`, `queries.jsonl`, `qrels.tsv` and runs `run.NAME.trec[.gz]`. One set and run are
named `FOLDER:NAME`, with options after commas: `depth=100` hits of a topic, `weight=3` what its lists count,
`judged` to add the topic's judged passages to the list, `learned` where the run's system knew more than
words, `unranked` where the run's order says nothing (its scores are then all 0), `teacher=NAME` to grade by
the ranks of another run instead of judgments, or by the mean of several where it is given again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from indexes.corpora import read_corpus
from ragnarok.errors import BadSetting, NotFound
from ragnarok.evaluate import Qrels, read_qrels
from ragnarok.query import clean_topic
from ragnarok.trec import Run, read_run, read_topics
from ragnarok.types import Hit, Passage

FLAGS = ("judged", "learned", "unranked")
"""Options of a judged run that take no value."""


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """What `FOLDER:NAME,options` names."""

    folder: Path
    run: str
    depth: int = 100
    weight: float = 1.0
    judged: bool = False
    learned: bool = False
    unranked: bool = False
    teachers: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The set's and the run's name, as reports call it."""
        return f"{self.folder.name}:{self.run}"

    @classmethod
    def parse(cls, text: str) -> "JudgedRun":
        """Read `FOLDER:NAME` and its options. Raises `BadSetting`."""
        place, *options = text.split(",")
        folder, colon, run = place.rpartition(":")
        values: dict[str, float | bool] = {}
        teachers: tuple[str, ...] = ()
        for option in options:
            key, equals, value = option.partition("=")
            if key in FLAGS and not equals:
                values[key] = True
            elif key == "teacher" and value:
                teachers += (value,)
            elif key in ("depth", "weight") and value.replace(".", "", 1).isdigit():
                values[key] = int(value) if key == "depth" and value.isdigit() else float(value)
            else:
                raise BadSetting(
                    f"{option!r} in {text!r} is no option: give depth=N, weight=W, teacher=RUN, "
                    f"{', '.join(FLAGS)}"
                )
        if not colon or not folder or not run or values.get("depth", 1) != int(values.get("depth", 1)):
            raise BadSetting(f"{text!r} names no judged run: give FOLDER:RUN, such as dl20:bm25,depth=100")
        return cls(
            Path(folder),
            run,
            depth=int(values.get("depth", 100)),
            weight=float(values.get("weight", 1.0)),
            judged=bool(values.get("judged", False)),
            learned=bool(values.get("learned", False)),
            unranked=bool(values.get("unranked", False)),
            teachers=teachers,
        )


@dataclass(frozen=True, slots=True)
class JudgedList:
    """One topic's hits as a run ranks them, each one's grade, and all grades of the topic."""

    qid: str
    query: str
    hits: list[Hit]
    grades: list[float]
    judgments: dict[str, float]


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """The parts of a folder that lists are made of; read once for all its runs."""

    folder: Path
    passages: dict[str, Passage]
    queries: dict[str, str]
    qrels: Qrels | None

    @property
    def judgments(self) -> Qrels:
        """The folder's judgments. Raises `NotFound` where there are none."""
        if self.qrels is None:
            raise NotFound(f"{self.folder} has no qrels.tsv: add it, or let another run teach (teacher=RUN)")
        return self.qrels

    @classmethod
    def open(cls, folder: Path) -> "JudgedSet":
        """Read a folder; it needs no judgments. Raises `NotFound`, `BadFormat` and `CorpusError`."""
        queries = {topic.qid: clean_topic(topic) for topic in read_topics(_file(folder, "queries.jsonl"))}
        corpus = _file(folder, "corpus.jsonl.gz", "corpus.jsonl")
        passages = {passage.docid: passage for passage in read_corpus(corpus)}
        qrels = folder / "qrels.tsv"
        return cls(folder, passages, queries, read_qrels(qrels) if qrels.is_file() else None)

    def run(self, name: str) -> Run:
        """One of the folder's runs."""
        return read_run(_file(self.folder, f"run.{name}.trec.gz", f"run.{name}.trec"))

    def lists(self, chosen: JudgedRun) -> list[JudgedList]:
        """Every judged topic that the run ranks; passages without text are left out.

        Raises `NotFound` where the run or judgments are missing, or no topic is left.
        """
        found = []
        every: Mapping[str, Mapping[str, float]] = (
            _taught([self.run(name) for name in chosen.teachers]) if chosen.teachers else self.judgments
        )
        for qid, entries in self.run(chosen.run).items():
            judgments = dict(every.get(qid, {}))
            if not judgments or qid not in self.queries:
                continue
            hits = [
                Hit(entry.docid, 0.0 if chosen.unranked else entry.score, rank, self.passages[entry.docid])
                for rank, entry in enumerate(entries[: chosen.depth], start=1)
                if entry.docid in self.passages
            ]
            if chosen.judged:
                have = {hit.docid for hit in hits}
                last = hits[-1].score if hits else 0.0
                hits += [
                    Hit(docid, last, chosen.depth + 1, self.passages[docid])
                    for docid in judgments
                    if docid not in have and docid in self.passages
                ]
            if hits:
                grades = [float(judgments.get(hit.docid, 0)) for hit in hits]
                found.append(JudgedList(qid, self.queries[qid], hits, grades, judgments))
        if not found:
            raise NotFound(
                f"{chosen.name} ranks no judged topic whose question and passages {self.folder} has"
            )
        return found


def _file(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise NotFound(f"{folder} has no {' or '.join(names)}: a judged set has BEIR's layout (docs/heads.md)")


def _taught(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Grades by ranks, the mean over runs: 1 / log2(rank + 1), as nDCG discounts them."""
    taught: dict[str, dict[str, float]] = {}
    for run in runs:
        for qid, entries in run.items():
            own = taught.setdefault(qid, {})
            for rank, entry in enumerate(entries, start=1):
                own[entry.docid] = own.get(entry.docid, 0.0) + 1 / math.log2(rank + 1) / len(runs)
    return taught


def best_grades(judgments: Sequence[float], depth: int = 10) -> list[float]:
    """The best grades of a topic, for the ideal that nDCG divides by."""
    return sorted(map(float, judgments), reverse=True)[:depth]
