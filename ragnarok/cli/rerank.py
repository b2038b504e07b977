"""`ragnarok rerank`: a run file in, a better one out."""

import random
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from indexes import open_index, read_corpus
from ragnarok.cli.console import Steps, err, out, print_json
from ragnarok.cli.options import (
    MEMORY_BYTES,
    STORE_BYTES,
    FirstStage,
    Heads,
    HostMemoryBytes,
    Int8,
    Json,
    MemoryBytes,
    ModelName,
    ModeName,
    ProfileFile,
    Redis,
    Store,
    StoreBytes,
    read_heads,
)
from ragnarok.errors import NotFound
from ragnarok.pipeline import close_parts
from ragnarok.query import clean_query
from ragnarok.trec import Run, RunEntry, check_tag, read_run, read_topics, write_run
from ragnarok.types import Hit, Passage


def rerank(
    run: Annotated[Path, typer.Argument(help="TREC run file to re-rank (.gz too).")],
    topics: Annotated[Path, typer.Option("--topics", "-t", help="Topics: TSV or JSONL.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="Where the re-ranked run goes.")
    ],
    corpus: Annotated[
        Path | None, typer.Option("--corpus", help="Collection with the passages' text.")
    ] = None,
    index: Annotated[str | None, typer.Option("--index", "-i", help="Or an index that holds them.")] = None,
    tag: Annotated[str, typer.Option(help="The new run's tag.")] = "icr",
    depth: Annotated[int, typer.Option(min=1, help="Hits of each topic to re-rank.")] = 100,
    model: ModelName = "smollm2-135m",
    instruction: Annotated[
        Literal["qa", "ie"], typer.Option(help="Wording: answer the question, or find relevant information.")
    ] = "qa",
    order: Annotated[
        Literal["reversed", "given"], typer.Option(help="Reversed puts the best hit next to the question.")
    ] = "reversed",
    shuffle: Annotated[
        int | None, typer.Option(help="Shuffle each list first, with this seed: what is order bias worth?")
    ] = None,
    passage_tokens: Annotated[int, typer.Option(min=16, help="Tokens read of each passage.")] = 400,
    mode: ModeName = None,
    profile: ProfileFile = None,
    first_stage: FirstStage = None,
    heads: Heads = None,
    store: Store = None,
    store_bytes: StoreBytes = STORE_BYTES,
    redis: Redis = None,
    int8: Int8 = False,
    memory_bytes: MemoryBytes = MEMORY_BYTES,
    host_memory_bytes: HostMemoryBytes = 0,
    json: Json = False,
) -> None:
    """Re-rank a TREC run by a model's attention.

    Late mode reads each passage alone: its score depends on the question and the passage and nothing else.
    Joint mode with --first-stage 0 is the published method: all heads, N/A calibration, low tokens dropped,
    the best first-stage passage next to the question; --instruction, --order, --passage-tokens and --heads
    are for it. A list too long for the model's context is read in segments. That is said, and so is what
    was read only in part.

    Example: ragnarok rerank run.bm25.trec.gz -t queries.jsonl --corpus corpus.jsonl.gz -o run.icr.trec
    """
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from ragnarok.assemble import PipelineSettings, build_reranker
    from ragnarok.documents import StoreOptions
    from ragnarok.rerankers import AttentionReranker
    from rerank.icr import IcrOptions, InContextReranker
    from rerank.late.reranker import LateOptions
    from rerank.model import load_model
    from rerank.profile import read_profile

    check_tag(tag)
    if corpus is None and index is None:
        raise typer.BadParameter("give --corpus or --index: the run has docids, but re-ranking reads text")
    options = IcrOptions(
        instruction=instruction, order=order, heads=read_heads(heads), passage_tokens=passage_tokens
    )
    steps = Steps()
    entries = read_run(run)
    questions = questions_of(entries, run, topics)
    with steps.step("passages read"):
        passages = passages_of(entries, depth, corpus, index)
    with steps.step(f"model {escape(model)} ready"):
        settings = PipelineSettings(
            mode="joint" if heads is not None and mode is None else mode,
            profile=None if profile is None else read_profile(profile),
            late=LateOptions(int8=int8, memory=memory_bytes, host_memory=host_memory_bytes),
            store=StoreOptions(store, store_bytes, redis),
            icr=options,
            first_stage=first_stage,
            evidence=0,
        )
        reranker = build_reranker(load_model(model), settings)
    result: dict[str, list[Hit]] = {}
    seconds: list[float] = []
    cut = 0
    with ExitStack() as ending, steps.stages("re-ranked") as progress:
        ending.callback(close_parts, reranker)
        for done, (qid, listed) in enumerate(entries.items()):
            progress("topics", done, len(entries))
            hits = hits_of(qid, listed[:depth], passages, shuffle)
            start = time.perf_counter()
            ranked = reranker.rerank(questions[qid], hits)
            seconds.append(time.perf_counter() - start)
            cut += sum(hit.cut for hit in ranked)
            result[qid] = list(ranked)
    write_run(output, result, tag)
    reader = reranker.reader if isinstance(reranker, AttentionReranker) else None
    segmented = reader.segmented if isinstance(reader, InContextReranker) else 0
    report = {
        "topics": len(result),
        "seconds_median": round(statistics.median(seconds), 4),
        "seconds_total": round(sum(seconds), 2),
        "passages": sum(map(len, result.values())),
        "passages_cut": cut,
        "topics_segmented": segmented,
        "output": str(output),
    }
    if json:
        print_json(report)
        return
    out.print(
        f"{report['topics']} topics, median {report['seconds_median']} s, written to {output}", markup=False
    )
    if cut:
        err.print(
            f"{cut} of {report['passages']} passages were read only in part, to fit the model's context"
        )
    if segmented:
        err.print(
            f"{segmented} of {report['topics']} lists were read in segments, to fit the model's context"
        )


def questions_of(entries: Run, run: Path, topics: Path) -> dict[str, str]:
    """The question of every topic that the run ranks. Raises `NotFound` and `BadQuery`."""
    texts = {topic.qid: topic.text for topic in read_topics(topics)}
    if unknown := [qid for qid in entries if qid not in texts]:
        raise NotFound(
            f"{topics} has no topic {unknown[0]!r}, which {run} ranks ({len(unknown)} such topics)"
        )
    return {qid: clean_query(texts[qid]) for qid in entries}


def hits_of(
    qid: str, listed: Sequence[RunEntry], passages: Mapping[str, Passage], shuffle: int | None
) -> list[Hit]:
    """A topic's hits as the run ranks them, numbered from 1, or shuffled."""
    hits = [Hit(e.docid, e.score, rank, passages[e.docid]) for rank, e in enumerate(listed, start=1)]
    if shuffle is not None:
        # A topic's own generator: the order does not depend on which topics came before.
        random.Random(f"{shuffle} {qid}").shuffle(hits)
    return hits


def passages_of(entries: Run, depth: int, corpus: Path | None, index: str | None) -> dict[str, Passage]:
    """The text of every passage that will be read. Raises `NotFound` where one has none."""
    wanted = {entry.docid for listed in entries.values() for entry in listed[:depth]}
    if index is not None:
        with open_index(index) as opened:
            return {docid: opened.passage(docid) for docid in wanted}
    assert corpus is not None
    found = {passage.docid: passage for passage in read_corpus(corpus) if passage.docid in wanted}
    if missing := sorted(wanted - found.keys()):
        raise NotFound(f"{corpus} has no passage {missing[0]!r}, which the run ranks ({len(missing)} such)")
    return found
