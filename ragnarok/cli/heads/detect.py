"""`ragnarok heads detect`: which heads look at what answers a question."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from ragnarok.cli.console import Stages, Steps
from ragnarok.cli.heads.shared import Into, Output, keep, read_into
from ragnarok.cli.options import Json, ModelName
from ragnarok.cli.rerank import hits_of, passages_of, questions_of
from ragnarok.errors import NotFound
from ragnarok.evaluate import read_qrels
from ragnarok.trec import RunEntry, read_run


def detect(
    run: Annotated[Path, typer.Argument(help="TREC run file whose lists are read (.gz too).")],
    topics: Annotated[Path, typer.Option("--topics", "-t", help="Topics: TSV or JSONL.")],
    qrels: Annotated[Path, typer.Option("--qrels", help="Judgments that say what answers a topic.")],
    output: Output,
    corpus: Annotated[
        Path | None, typer.Option("--corpus", help="Collection with the passages' text.")
    ] = None,
    index: Annotated[str | None, typer.Option("--index", "-i", help="Or an index that holds them.")] = None,
    method: Annotated[
        Literal["qrhead", "core"],
        typer.Option(help="qrhead: attention to what answers; core: against what does not."),
    ] = "core",
    temperature: Annotated[float, typer.Option(min=1e-6, help="How sharply core contrasts.")] = 0.1,
    top: Annotated[int, typer.Option(min=1, help="Heads to keep.")] = 8,
    grade: Annotated[int, typer.Option(min=1, help="The least grade that counts as an answer.")] = 1,
    depth: Annotated[int, typer.Option(min=1, help="Hits of each topic to read.")] = 20,
    model: ModelName = "smollm2-135m",
    instruction: Annotated[
        Literal["qa", "ie"], typer.Option(help="Wording: answer the question, or find relevant information.")
    ] = "ie",
    shuffle: Annotated[
        int | None, typer.Option(help="Shuffle each list first, with this seed: heads echo the order.")
    ] = None,
    passage_tokens: Annotated[int, typer.Option(min=16, help="Tokens read of each passage.")] = 400,
    into: Into = None,
    json: Json = False,
) -> None:
    """Find the heads whose attention finds answers in the joint prompt, from judged topics.

    Topics without an answer among their hits are left out; with core, those with nothing else too.

    Example: ragnarok heads detect bm25.trec -t topics.tsv --qrels qrels.txt -i notes -o heads.json
    """
    from rerank.detect import Example, core_scores, qrhead_scores
    from rerank.icr import IcrOptions, InContextReranker
    from rerank.importers import strongest
    from rerank.model import load_model
    from rerank.profile import HeadProfile, JointHead, ModelIdentity, Note, check_profile

    if corpus is None and index is None:
        raise typer.BadParameter("give --corpus or --index: the run has docids, but heads read text")
    steps = Steps()
    base = read_into(into)
    entries = read_run(run)
    questions = questions_of(entries, run, topics)
    grades = read_qrels(qrels)
    wanted = {
        qid: listed[:depth]
        for qid, listed in entries.items()
        if _teaches(listed[:depth], grades.get(qid, {}), grade, method)
    }
    if not wanted:
        raise NotFound(
            f"no topic of {run} has what {qrels} grades {grade} or more among its first {depth} hits"
            + (", and something else too" if method == "core" else "")
        )
    with steps.step("passages read"):
        passages = passages_of(wanted, depth, corpus, index)
    with steps.step(f"model {escape(model)} ready"):
        loaded = load_model(model)
        if base is not None:
            check_profile(base, loaded)
        options = IcrOptions(instruction=instruction, passage_tokens=passage_tokens)
        reader = InContextReranker(loaded, options)

    def examples(progress: Stages) -> Iterator[Example]:
        for done, (qid, listed) in enumerate(wanted.items()):
            progress("topics", done, len(wanted))
            hits = hits_of(qid, listed, passages, shuffle)
            answers = {place for place, hit in enumerate(hits) if grades[qid].get(hit.docid, 0) >= grade}
            yield Example(questions[qid], [hit.passage.contents for hit in hits], frozenset(answers))

    with steps.stages("heads scored") as progress:
        if method == "qrhead":
            table = qrhead_scores(reader, examples(progress))
        else:
            table = core_scores(reader, examples(progress), temperature)
    scores = {(layer, head): score for layer, row in enumerate(table) for head, score in enumerate(row)}
    heads = strongest(scores, top)
    notes: dict[str, Note] = {
        "joint.source": f"ragnarok heads detect --method {method}",
        "joint.model": model,
        "joint.run": run.name,
        "joint.topics": len(wanted),
        "joint.depth": depth,
        "joint.instruction": instruction,
    }
    if method == "core":
        notes["joint.temperature"] = temperature
    if shuffle is not None:
        notes["joint.shuffle"] = shuffle
    joint = tuple(JointHead(layer, head) for layer, head in heads)
    new = HeadProfile(ModelIdentity.of(loaded), joint=joint, provenance=notes)
    report = {"topics": len(wanted), "heads": {f"{a}-{b}": scores[a, b] for a, b in heads}}
    keep(new, base, output, report, json=json)


def _teaches(listed: Sequence[RunEntry], grades: Mapping[str, int], grade: int, method: str) -> bool:
    """Whether a list has an answer and, where heads are told apart by it, something else."""
    answers = sum(grades.get(entry.docid, 0) >= grade for entry in listed)
    return answers > 0 and (method == "qrhead" or answers < len(listed))
