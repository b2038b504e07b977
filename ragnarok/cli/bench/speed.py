"""`ragnarok bench speed`: how long a re-ranking call takes, and which part of it takes how long."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragnarok.cli.bench.clock import Clock
from ragnarok.cli.bench.material import profile_for, queries_of, random_llama, texts_of
from ragnarok.cli.bench.report import show, surroundings
from ragnarok.cli.console import Steps
from ragnarok.cli.options import Json, ModelName, ProfileFile

if TYPE_CHECKING:
    from rerank.late.reranker import LateReranker
    from rerank.model import Model
    from rerank.profile import HeadProfile


def speed(
    model: ModelName = "smollm2-135m",
    profile: ProfileFile = None,
    shape: Annotated[
        Literal["llama-3.1-8b"] | None,
        typer.Option(help="Time random weights of this shape; --model then gives the tokenizer only."),
    ] = None,
    passages: Annotated[str, typer.Option(help="Passages in a call, comma-separated.")] = "20,100",
    tokens: Annotated[int, typer.Option(min=16, help="Tokens of a passage.")] = 100,
    query_tokens: Annotated[int, typer.Option(min=4, help="Tokens of a query.")] = 40,
    repeats: Annotated[int, typer.Option(min=3, help="Calls measured of each row.")] = 15,
    concurrent: Annotated[int, typer.Option(min=1, help="Requests of 100 passages at once.")] = 32,
    joint: Annotated[bool, typer.Option(help="Time joint mode too.")] = True,
    json: Json = False,
) -> None:
    """Time whole calls, from text to scores: medians, spread, and the parts of a call.

    Example: ragnarok bench speed --shape llama-3.1-8b --passages 100,1000,10000
    """
    from rerank.late.reranker import LateOptions, LateReranker
    from rerank.model import load_model

    steps = Steps()
    with steps.step("model ready"):
        loaded = load_model(model) if shape is None else random_llama(model, shape)
        heads = profile_for(loaded, profile, random=shape is not None, tokens=tokens)
        memory = 6 << 30 if loaded.device.type == "cuda" else 1 << 29
        late = LateReranker(loaded, heads, LateOptions(memory=memory, host_memory=memory // 8))
    sizes = [int(size) for size in passages.split(",")]
    texts = texts_of(loaded, tokens, max([*sizes, 100]))
    queries = queries_of(loaded, query_tokens)
    clock = Clock(repeats, partial(_wait, loaded), partial(steps.console.print, markup=False))
    with steps.step("measured"):
        _whole(late, texts, queries, sizes, tokens, clock)
        _parts(late, texts, queries, clock)
        _together(late, texts[:100], queries, concurrent, clock)
        if joint:
            _joint(loaded, heads, texts[:100], tokens, queries, clock)
    show(clock.rows, {"model": shape or model, "profile": heads.digest, **surroundings()}, json=json)


def _whole(
    late: "LateReranker",
    texts: Sequence[str],
    queries: Iterator[str],
    sizes: Sequence[int],
    tokens: int,
    clock: Clock,
) -> None:
    """Whole calls: of 100 passages that were never read, and of passages that are kept."""
    fresh = count()

    def cold() -> None:
        mark = next(fresh)
        late.read(next(queries), [f"{mark} {text}" for text in texts[:100]])

    clock.measure(f"late, cold, 100 × {tokens} tokens", cold)
    for size in sizes:
        own = texts[:size]
        late.warm(own)
        clock.measure(f"late, warm, {size} passages", partial(_call, late, queries, own))


def _together(
    late: "LateReranker", texts: Sequence[str], queries: Iterator[str], concurrent: int, clock: Clock
) -> None:
    """Requests one by one, and as one pass."""
    requests = [(next(queries), texts) for _ in range(concurrent)]
    late.warm(texts)
    one = clock.measure(
        f"{concurrent} requests of 100, one at a time", lambda: [late.read(*r) for r in requests]
    )
    both = clock.measure(f"{concurrent} requests of 100, together", lambda: late.read_all(requests))
    clock.rows[-1]["call"] = f"{clock.rows[-1]['call']} ({one / both:.1f}× the throughput)"


def _call(late: "LateReranker", queries: Iterator[str], texts: Sequence[str]) -> None:
    late.read(next(queries), texts)


def _parts(
    late: "LateReranker",
    texts: Sequence[str],
    queries: Iterator[str],
    clock: Clock,
) -> None:
    """The parts of a call: addresses, the query's pass, the match, reading documents, keys from the host."""
    import numpy as np
    import torch

    from rerank.late.match import match
    from rerank.store.key import document_key

    size = len(texts)
    clock.measure(f"addresses of {size} passages", lambda: [document_key(late.scope, text) for text in texts])
    clock.measure("query pass", lambda: late.queries.read([next(queries)]))
    late.warm(texts)
    names = [document_key(late.scope, text) for text in texts]
    slots = late.memory.find(names)
    rows, _ = late.queries.read([next(queries)])
    pages = late.memory.pages
    clock.measure(f"match of {size} passages", lambda: match(rows, pages, np.zeros(size, np.int32), slots))
    read = late.documents.tokenize(texts[:100])
    clock.measure("reading 100 passages", lambda: list(late.documents.read(read, late.null)))
    if late.host is None:
        return
    for some in (100, 1000):
        if some <= size:
            own = texts[:some]
            late.warm(own)
            clock.measure(
                f"late, keys in pinned host memory, {some} passages",
                partial(_call, late, queries, own),
                before=partial(late.memory.forget, names[:some]),
            )
    torch.cuda.synchronize()


def _joint(
    model: "Model",
    heads: "HeadProfile",
    texts: Sequence[str],
    tokens: int,
    queries: Iterator[str],
    clock: Clock,
) -> None:
    from rerank.icr import IcrOptions, InContextReranker
    from rerank.profile import JointHead

    chosen = heads.joint or tuple(
        JointHead(layer, head, 1.0) for layer, head in sorted({(s.layer, s.head) for s in heads.signals})
    )
    options = IcrOptions(
        heads=tuple((item.layer, item.head) for item in chosen),
        head_weights=tuple(item.weight for item in chosen),
        passage_tokens=tokens,
    )
    reader = InContextReranker(model, options)
    clock.measure(f"joint, {len(texts)} passages, scoring heads", lambda: reader.read(next(queries), texts))


def _wait(model: "Model") -> None:
    import torch

    if model.device.type == "cuda":
        torch.cuda.synchronize()
