"""`ragnarok heads detect`: which heads look at what answers a question."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from ragnarok.cli.console import Stages, Steps
from ragnarok.cli.grouped import grouped
from ragnarok.cli.groups import Source
from ragnarok.cli.heads.shared import Into, Output, keep, load_like, read_into
from ragnarok.cli.lists import hits_of, passages_of, questions_of
from ragnarok.cli.options import Instruction, Json, ModelName, PassageTokens, TopicsFile
from ragnarok.errors import NotFound
from ragnarok.evaluate import Qrels, read_qrels
from ragnarok.trec import Run, RunEntry, read_run
from ragnarok.types import Hit
from rerank.profile import HeadProfile, JointHead, ModelIdentity, Note

if TYPE_CHECKING:
    from rerank.detect import Example
    from rerank.icr import Head, InContextReranker


@dataclass(frozen=True, slots=True)
class Finding:
    """How heads are told apart, and how many are kept."""

    method: Annotated[
        Literal["qrhead", "core"],
        typer.Option(help="qrhead: attention to what answers; core: against what does not."),
    ] = "core"
    temperature: Annotated[float, typer.Option(min=1e-6, help="How sharply core contrasts.")] = 0.1
    top: Annotated[int, typer.Option(min=1, help="Heads to keep.")] = 8
    grade: Annotated[int, typer.Option(min=1, help="The least grade that counts as an answer.")] = 1
    depth: Annotated[int, typer.Option(min=1, help="Hits of each topic to read.")] = 20

    @property
    def wanted(self) -> str:
        """What a list must have to tell heads apart."""
        also = ", and something else too" if self.method == "core" else ""
        return f"{self.grade} or more among its first {self.depth} hits{also}"

    def teaching(self, entries: Run, grades: Qrels) -> Run:
        """The lists that tell heads apart, as far as they are read."""
        lists = {qid: listed[: self.depth] for qid, listed in entries.items()}
        return {qid: own for qid, own in lists.items() if self._teaches(own, grades.get(qid, {}))}

    def scores(self, reader: "InContextReranker", examples: "Iterator[Example]") -> "dict[Head, float]":
        """Every head's score."""
        # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
        from rerank.detect import core_scores, qrhead_scores

        if self.method == "qrhead":
            table = qrhead_scores(reader, examples)
        else:
            table = core_scores(reader, examples, self.temperature)
        return {(layer, head): score for layer, row in enumerate(table) for head, score in enumerate(row)}

    def _teaches(self, listed: Sequence[RunEntry], grades: Mapping[str, int]) -> bool:
        """Whether a list has an answer and, where heads are told apart by it, something else."""
        answers = sum(grades.get(entry.docid, 0) >= self.grade for entry in listed)
        return answers > 0 and (self.method == "qrhead" or answers < len(listed))


@grouped
def detect(
    run: Annotated[Path, typer.Argument(help="TREC run file whose lists are read (.gz too).")],
    topics: TopicsFile,
    qrels: Annotated[Path, typer.Option("--qrels", help="Judgments that say what answers a topic.")],
    output: Output,
    *,
    source: Source,
    finding: Finding,
    model: ModelName = "smollm2-135m",
    instruction: Instruction = "ie",
    shuffle: Annotated[
        int | None, typer.Option(help="Shuffle each list first, with this seed: heads echo the order.")
    ] = None,
    passage_tokens: PassageTokens = 400,
    into: Into = None,
    json: Json = False,
) -> None:
    """Find the heads whose attention finds answers in the joint prompt, from judged topics.

    Topics without an answer among their hits are left out; with core, those with nothing else too.

    Example: ragnarok heads detect bm25.trec -t topics.tsv --qrels qrels.txt -i notes -o heads.json
    """
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from rerank.icr import IcrOptions, InContextReranker
    from rerank.importers import strongest

    source.check("heads read")
    steps = Steps()
    base = read_into(into)
    entries = read_run(run)
    questions = questions_of(entries, run, topics)
    grades = read_qrels(qrels)
    wanted = finding.teaching(entries, grades)
    if not wanted:
        raise NotFound(f"no topic of {run} has what {qrels} grades {finding.wanted}")
    with steps.step("passages read"):
        passages = passages_of(wanted, finding.depth, source)
    with steps.step(f"model {escape(model)} ready"):
        loaded = load_like(model, base)
        reader = InContextReranker(loaded, IcrOptions(instruction=instruction, passage_tokens=passage_tokens))
    lists = {qid: hits_of(qid, listed, passages, shuffle) for qid, listed in wanted.items()}
    with steps.stages("heads scored") as progress:
        examples = _examples(lists, questions, grades, finding.grade, progress)
        scores = finding.scores(reader, examples)
    heads = strongest(scores, finding.top)
    notes = _notes(finding, shuffle) | {
        "joint.model": model,
        "joint.run": run.name,
        "joint.topics": len(wanted),
        "joint.instruction": instruction,
    }
    joint = tuple(JointHead(layer, head) for layer, head in heads)
    new = HeadProfile(ModelIdentity.of(loaded), joint=joint, provenance=notes)
    report = {"topics": len(wanted), "heads": {f"{a}-{b}": scores[a, b] for a, b in heads}}
    keep(new, base, output, report, json=json)


def _examples(
    lists: Mapping[str, Sequence[Hit]],
    questions: Mapping[str, str],
    grades: Qrels,
    grade: int,
    progress: Stages,
) -> "Iterator[Example]":
    """Each topic's question and passages, and which of them answer it."""
    from rerank.detect import Example

    for done, (qid, hits) in enumerate(lists.items()):
        progress("topics", done, len(lists))
        answers = {place for place, hit in enumerate(hits) if grades[qid].get(hit.docid, 0) >= grade}
        yield Example(questions[qid], [hit.passage.contents for hit in hits], frozenset(answers))


def _notes(finding: Finding, shuffle: int | None) -> dict[str, Note]:
    """How heads were found, for the profile."""
    notes: dict[str, Note] = {
        "joint.source": f"ragnarok heads detect --method {finding.method}",
        "joint.depth": finding.depth,
    }
    if finding.method == "core":
        notes["joint.temperature"] = finding.temperature
    if shuffle is not None:
        notes["joint.shuffle"] = shuffle
    return notes
