"""`ragnarok search`: the first stage alone, for one query or a topic set."""

from pathlib import Path
from typing import Annotated

import typer

from indexes import Index, Method, open_index
from ragnarok.cli.console import Steps, err, out, print_json
from ragnarok.cli.options import K1, B, IndexName, Json, MethodName
from ragnarok.cli.render import hit_list, hits_json
from ragnarok.query import clean_query, clean_topic
from ragnarok.trec import check_place, check_tag, read_topics, write_run


def search(
    query: Annotated[str | None, typer.Argument(help="What to look for.")] = None,
    index: IndexName = "demo",
    method: MethodName = None,
    hits: Annotated[int, typer.Option("--hits", "-k", min=1, max=1000, help="How many passages.")] = 10,
    k1: K1 = 0.9,
    b: B = 0.4,
    topics: Annotated[
        Path | None, typer.Option("--topics", "-t", help="Search for a topic set (TSV or JSONL) instead.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", dir_okay=False, help="Where its TREC run goes.")
    ] = None,
    tag: Annotated[str, typer.Option(help="The run's tag.")] = "first-stage",
    json: Json = False,
) -> None:
    """Search an index: BM25 by pyserini/Lucene, dense by Faiss, or both fused.

    Nothing is re-ranked and no language model is loaded. No hit is not an error. With --topics and --output
    a whole topic set is searched at once and written as a TREC run.

    Example: ragnarok search "context manager" --index demo --method bm25 --hits 5
    """
    if (query is None) == (topics is None) or (topics is None) != (output is None):
        raise typer.BadParameter("give a query, or both --topics and --output")
    with open_index(index) as opened:
        if query is None:
            assert topics is not None
            assert output is not None
            count = _search_topics(opened, topics, output, check_tag(tag), hits, method, k1, b)
            if json:
                print_json({"topics": count, "output": str(output)})
            else:
                out.print(str(output), soft_wrap=True, markup=False)
            return
        text = clean_query(query)
        (found,) = opened.search([text], hits, method=method, k1=k1, b=b)
    if json:
        print_json({"query": text, "hits": hits_json(found)})
    elif found:
        out.print(hit_list(out, found))
    else:
        err.print("no passage matches")


def _search_topics(
    index: Index, topics: Path, output: Path, tag: str, hits: int, method: Method | None, k1: float, b: float
) -> int:
    """Write a topic set's run; returns how many topics were searched for."""
    check_place(output)
    questions = read_topics(topics)
    queries = [clean_topic(topic) for topic in questions]
    with Steps().step(f"{len(questions)} topics searched"):
        found = index.search(queries, hits, method=method, k1=k1, b=b)
    run = {topic.qid: listed for topic, listed in zip(questions, found, strict=True)}
    write_run(output, run, tag)
    return len(questions)
