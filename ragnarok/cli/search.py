"""`ragnarok search`: the first stage alone."""

from typing import Annotated

import typer

from indexes import open_index
from ragnarok.cli.console import err, out, print_json
from ragnarok.cli.options import K1, B, IndexName, Json, MethodName
from ragnarok.cli.render import hit_list, hits_json
from ragnarok.query import clean_query


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    index: IndexName = "demo",
    method: MethodName = None,
    hits: Annotated[int, typer.Option("--hits", "-k", min=1, max=1000, help="How many passages.")] = 10,
    k1: K1 = 0.9,
    b: B = 0.4,
    json: Json = False,
) -> None:
    """Search an index: BM25 by pyserini/Lucene, dense by Faiss, or both fused.

    Nothing is re-ranked and no language model is loaded. No hit is not an error.

    Example: ragnarok search "context manager" --index demo --method bm25 --hits 5
    """
    text = clean_query(query)
    with open_index(index) as opened:
        (found,) = opened.search([text], hits, method=method, k1=k1, b=b)
    if json:
        print_json({"query": text, "hits": hits_json(found)})
    elif found:
        out.print(hit_list(out, found))
    else:
        err.print("no passage matches")
