"""`ragnarok warm`: documents read ahead, so that nobody waits for the first question about them."""

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from indexes import Index, Method, SearchError, open_index, read_corpus
from ragnarok.cli.console import Stages, Steps, err, out, print_json
from ragnarok.cli.grouped import grouped
from ragnarok.cli.groups import Kept, Source
from ragnarok.cli.lists import passages_of
from ragnarok.cli.options import Json, MethodName, ModelName, ProfileFile
from ragnarok.query import clean_topic
from ragnarok.trec import read_run, read_topics
from ragnarok.types import Passage

if TYPE_CHECKING:
    from rerank.late.reranker import LateReranker
    from rerank.store.types import StoreStats

PIECE = 256
"""Passages between two reports of progress."""


@grouped
def warm(
    run: Annotated[Path | None, typer.Option("--run", help="Only passages that this TREC run ranks.")] = None,
    topics: Annotated[
        Path | None, typer.Option("--topics", "-t", help="Only passages that the index finds for these.")
    ] = None,
    *,
    source: Source,
    method: MethodName = None,
    depth: Annotated[int, typer.Option(min=1, max=1000, help="Hits of each topic to read.")] = 100,
    model: ModelName = "smollm2-135m",
    profile: ProfileFile = None,
    kept: Kept,
    json: Json = False,
) -> None:
    """Read documents into the document store before anyone asks about them.

    Those of a run, those that an index finds for topics, or all of an index or corpus. What the store holds
    already is not read again, so an interrupted run goes on where it stopped. The store helps whoever
    re-ranks in late mode with the same model, profile and --int8.

    Example: ragnarok warm --index demo --profile heads.json --store states
    """
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from rerank.late.reranker import LateOptions, LateReranker
    from rerank.model import load_model
    from rerank.profile import read_profile

    _check(run, topics, source)
    store = kept.options().open()
    if store is None:
        raise typer.BadParameter("give --store, --redis or both: without them nothing would be kept")
    steps = Steps()
    with closing(store):
        passages = _passages(run, topics, source, method, depth)
        with steps.step(f"model {escape(model)} ready"):
            chosen = None if profile is None else read_profile(profile)
            reranker = LateReranker(load_model(model), chosen, LateOptions(int8=kept.int8, store=store))
        with steps.stages("documents read") as progress:
            start = time.perf_counter()
            documents, fresh = _warmed(reranker, passages, progress)
            seconds = time.perf_counter() - start
        _say(documents, fresh, reranker.documents.tokens, seconds, store.stats(), json=json)


def _check(run: Path | None, topics: Path | None, source: Source) -> None:
    """Refuse what names no passages, or names them twice. Raises `BadParameter`."""
    if (source.corpus is None) == (source.index is None):
        raise typer.BadParameter("give --corpus or --index, one of them: it holds the text that is read")
    if topics is not None and (run is not None or source.index is None):
        raise typer.BadParameter("--topics searches an --index, and --run needs no search: give one of them")


def _warmed(reranker: "LateReranker", passages: Iterator[Passage], progress: Stages) -> tuple[int, int]:
    """How many documents were looked at, and how many of them the store had not held."""
    documents = fresh = 0
    while piece := [passage.contents for passage in islice(passages, PIECE)]:
        fresh += reranker.warm(piece)
        documents += len(piece)
        progress("documents", documents, None)
    return documents, fresh


def _say(documents: int, fresh: int, tokens: int, seconds: float, kept: "StoreStats", *, json: bool) -> None:
    """What was read, how fast, and what the store makes of it."""
    if json:
        print_json(
            {
                "documents": documents,
                "new": fresh,
                "tokens": tokens,
                "tokens_per_second": round(tokens / seconds),
                "bytes": kept.bytes,
                "evictions": kept.evictions,
                "errors": kept.errors,
            }
        )
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
    run: Path | None, topics: Path | None, source: Source, method: Method | None, depth: int
) -> Iterator[Passage]:
    """What is to be read. Everything but a corpus is looked up now, before a model is loaded."""
    if run is not None:
        return iter(passages_of(read_run(run), depth, source).values())
    if source.corpus is not None:
        return read_corpus(source.corpus)
    assert source.index is not None
    opened = open_index(source.index)
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
    questions = [clean_topic(topic) for topic in read_topics(topics)]
    found = index.search(questions, depth, method=method)
    return iter({hit.docid: hit.passage for hits in found for hit in hits}.values())


def _closing(index: Index, passages: Iterator[Passage]) -> Iterator[Passage]:
    with index:
        yield from passages
