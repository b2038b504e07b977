"""`ragnarok warm`: documents read ahead, so that nobody waits for the first question about them."""

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from indexes import Index, Method, SearchError, open_index, read_corpus
from ragnarok.cli.console import Steps, err, out, print_json
from ragnarok.cli.options import (
    STORE_BYTES,
    Int8,
    Json,
    MethodName,
    ModelName,
    ProfileFile,
    Redis,
    Store,
    StoreBytes,
)
from ragnarok.cli.rerank import passages_of
from ragnarok.query import clean_query
from ragnarok.trec import read_run, read_topics
from ragnarok.types import Passage

PIECE = 256
"""Passages between two reports of progress."""


def warm(
    run: Annotated[Path | None, typer.Option("--run", help="Only passages that this TREC run ranks.")] = None,
    topics: Annotated[
        Path | None, typer.Option("--topics", "-t", help="Only passages that the index finds for these.")
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option("--corpus", help="Collection with the passages' text.")
    ] = None,
    index: Annotated[str | None, typer.Option("--index", "-i", help="Or an index that holds them.")] = None,
    method: MethodName = None,
    depth: Annotated[int, typer.Option(min=1, max=1000, help="Hits of each topic to read.")] = 100,
    model: ModelName = "smollm2-135m",
    profile: ProfileFile = None,
    store: Store = None,
    store_bytes: StoreBytes = STORE_BYTES,
    redis: Redis = None,
    int8: Int8 = False,
    json: Json = False,
) -> None:
    """Read documents into the document store before anyone asks about them.

    Those of a run, those that an index finds for topics, or all of an index or corpus. What the store holds
    already is not read again, so an interrupted run goes on where it stopped. The store helps whoever
    re-ranks in late mode with the same model, profile and --int8.

    Example: ragnarok warm --index demo --profile heads.json --store states
    """
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from ragnarok.documents import open_store
    from rerank.late.reranker import LateOptions, LateReranker
    from rerank.model import load_model
    from rerank.profile import read_profile

    if (corpus is None) == (index is None):
        raise typer.BadParameter("give --corpus or --index, one of them: it holds the text that is read")
    if topics is not None and (run is not None or index is None):
        raise typer.BadParameter("--topics searches an --index, and --run needs no search: give one of them")
    opened = open_store(store, store_bytes, redis)
    if opened is None:
        raise typer.BadParameter("give --store, --redis or both: without them nothing would be kept")
    steps = Steps()
    documents = fresh = 0
    with closing(opened):
        passages = _passages(run, topics, corpus, index, method, depth)
        with steps.step(f"model {escape(model)} ready"):
            chosen = None if profile is None else read_profile(profile)
            reranker = LateReranker(load_model(model), chosen, LateOptions(int8=int8, store=opened))
        with steps.stages("documents read") as progress:
            start = time.perf_counter()
            while piece := [passage.contents for passage in islice(passages, PIECE)]:
                fresh += reranker.warm(piece)
                documents += len(piece)
                progress("documents", documents, None)
            seconds = time.perf_counter() - start
        kept = opened.stats()
    tokens = reranker.documents.tokens
    report = {
        "documents": documents,
        "new": fresh,
        "tokens": tokens,
        "tokens_per_second": round(tokens / seconds),
        "bytes": kept.bytes,
        "evictions": kept.evictions,
        "errors": kept.errors,
    }
    if json:
        print_json(report)
    else:
        out.print(
            f"{documents:,} documents, {fresh:,} new, {tokens:,} tokens read ({tokens / seconds:,.0f}/s), "
            f"store: {'size unknown' if kept.bytes is None else f'{kept.bytes:,} bytes'}",
            markup=False,
        )
    if kept.evictions or kept.errors:
        err.print(
            f"{kept.evictions:,} documents made room for others and {kept.errors:,} writes or reads failed: "
            "the store does not hold all of them; give it more room, or see docs/store.md"
        )


def _passages(
    run: Path | None,
    topics: Path | None,
    corpus: Path | None,
    index: str | None,
    method: Method | None,
    depth: int,
) -> Iterator[Passage]:
    """What is to be read. Everything but a corpus is looked up now, before a model is loaded."""
    if run is not None:
        return iter(passages_of(read_run(run), depth, corpus, index).values())
    if corpus is not None:
        return read_corpus(corpus)
    assert index is not None
    opened = open_index(index)
    if topics is not None:
        with opened:
            return _found(opened, topics, method, depth)
    try:
        return _closing(opened, opened.passages())
    except SearchError:
        opened.close()
        raise


def _found(index: Index, topics: Path, method: Method | None, depth: int) -> Iterator[Passage]:
    """What the index finds for topics, each passage once."""
    questions = [clean_query(topic.text) for topic in read_topics(topics)]
    found = index.search(questions, depth, method=method)
    return iter({hit.docid: hit.passage for hits in found for hit in hits}.values())


def _closing(index: Index, passages: Iterator[Passage]) -> Iterator[Passage]:
    with index:
        yield from passages
