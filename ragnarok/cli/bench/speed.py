"""`ragnarok bench speed`: how long a re-ranking call takes, and which part of it takes how long."""

import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ragnarok.cli.bench.report import show, surroundings
from ragnarok.cli.console import Steps
from ragnarok.cli.options import Json, ModelName, ProfileFile

if TYPE_CHECKING:
    from rerank.late.reranker import LateReranker
    from rerank.model import Model
    from rerank.profile import HeadProfile

DEPTH, GROUPS = 20, 8
"""Scoring layers and KV groups of a random model's profile."""


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
        loaded = load_model(model) if shape is None else _random_llama(model, shape)
        heads = _profile(loaded, profile, random=shape is not None, tokens=tokens)
        memory = 6 << 30 if loaded.device.type == "cuda" else 1 << 29
        late = LateReranker(loaded, heads, LateOptions(memory=memory, host_memory=memory // 8))
    texts = _texts(loaded, tokens, max([*map(int, passages.split(",")), 100]))
    queries = _queries(loaded, query_tokens)
    rows: list[dict[str, object]] = []

    def timed(name: str, call: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
        spent = []
        for turn in range(repeats + 2):
            before()
            _wait(loaded)
            start = time.perf_counter()
            call()
            _wait(loaded)
            if turn >= 2:
                spent.append(1000 * (time.perf_counter() - start))
        spent.sort()
        middle = statistics.median(spent)
        tenth = spent[max(len(spent) // 10, 0)], spent[-1 - len(spent) // 10]
        rows.append(
            {"call": name, "median ms": f"{middle:.2f}", "10–90 % ms": f"{tenth[0]:.2f}–{tenth[1]:.2f}"}
        )
        steps.console.print(f"  {name}: {middle:.2f} ms", markup=False)
        return middle

    with steps.step("measured"):
        fresh = count()

        def cold() -> None:
            mark = next(fresh)
            late.read(next(queries), [f"{mark} {text}" for text in texts[:100]])

        timed(f"late, cold, 100 × {tokens} tokens", cold)
        for size in map(int, passages.split(",")):
            own = texts[:size]
            late.warm(own)
            timed(f"late, warm, {size} passages", partial(_call, late, queries, own))
        _parts(late, texts, queries, timed)
        requests = [(next(queries), texts[:100]) for _ in range(concurrent)]
        late.warm(texts[:100])
        one = timed(f"{concurrent} requests of 100, one at a time", lambda: [late.read(*r) for r in requests])
        both = timed(f"{concurrent} requests of 100, together", lambda: late.read_all(requests))
        rows[-1]["call"] = f"{rows[-1]['call']} ({one / both:.1f}× the throughput)"
        if joint:
            _joint(loaded, heads, texts[:100], tokens, queries, timed)
    show(rows, {"model": shape or model, "profile": heads.digest, **surroundings()}, json=json)


def _call(late: "LateReranker", queries: Iterator[str], texts: Sequence[str]) -> None:
    late.read(next(queries), texts)


def _parts(
    late: "LateReranker",
    texts: Sequence[str],
    queries: Iterator[str],
    timed: Callable[..., float],
) -> None:
    """The parts of a call: addresses, the query's pass, the match, reading documents, keys from the host."""
    import numpy as np
    import torch

    from rerank.late.match import match
    from rerank.store.key import document_key

    size = len(texts)
    timed(f"addresses of {size} passages", lambda: [document_key(late.scope, text) for text in texts])
    timed("query pass", lambda: late.queries.read([next(queries)]))
    late.warm(texts)
    names = [document_key(late.scope, text) for text in texts]
    slots = late.memory.find(names)
    rows, _ = late.queries.read([next(queries)])
    pages = late.memory.pages
    timed(f"match of {size} passages", lambda: match(rows, pages, np.zeros(size, np.int32), slots))
    read = late.documents.tokenize(texts[:100])
    timed("reading 100 passages", lambda: list(late.documents.read(read, late.null)))
    if late.host is None:
        return
    for some in (100, 1000):
        if some <= size:
            own = texts[:some]
            late.warm(own)
            timed(
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
    timed: Callable[..., float],
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
    timed(f"joint, {len(texts)} passages, scoring heads", lambda: reader.read(next(queries), texts))


def _random_llama(source: str, name: str) -> "Model":
    """Random weights in the shape of Llama-3.1-8B, with the tokenizer of another model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from rerank.model import Model, load_tokenizer

    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = LlamaConfig(
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128_256,
        max_position_embeddings=131_072,
    )
    with torch.device("meta"):
        network = LlamaForCausalLM(config)
    torch.nn.Module.to(network, torch.bfloat16)
    network.to_empty(device=place)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(0, 0.02) if weight.dim() > 1 else weight.fill_(1.0)
    network.model.rotary_emb = type(network.model.rotary_emb)(config, device=place)
    return Model(name, network, load_tokenizer(source))


def _profile(model: "Model", path: Path | None, *, random: bool, tokens: int) -> "HeadProfile":
    """The profile to time: of a file, the model's own, or `GROUPS` groups spread to layer `DEPTH`."""
    from rerank.late.queries import PROMPT
    from rerank.profile import ROWS, HeadProfile, ModelIdentity, Signal, read_profile, shipped_profile

    found = None if random else (read_profile(path) if path else shipped_profile(model))
    if found is not None:
        return found
    depth = min(DEPTH, model.shape.layers)
    shared = model.shape.heads // model.shape.kv_heads
    layers = [depth - 1 - place * depth // (2 * GROUPS) for place in range(GROUPS)]
    signals = tuple(
        Signal(layer, (place % model.shape.kv_heads) * shared + head, rows, 0.1)
        for place, layer in enumerate(layers)
        for head in range(shared)
        for rows in ROWS
    )
    return HeadProfile(
        ModelIdentity.of(model), prompt=PROMPT, signals=signals, passage_tokens=tokens, position=tokens + 28
    )


def _texts(model: "Model", tokens: int, size: int) -> list[str]:
    """Different texts of at least `tokens` tokens each."""
    chance = random.Random(7)
    words = _words(model)
    return [" ".join(chance.choices(words, k=tokens)) for _ in range(size)]


def _words(model: "Model") -> list[str]:
    found = (str(model.tokenizer.decode([token])).strip() for token in range(1000, 6000))
    return [word for word in found if word.isalpha()]


def _queries(model: "Model", tokens: int) -> Iterator[str]:
    """Queries of `tokens` tokens, in turn; made beforehand, for that takes milliseconds."""
    chance = random.Random(8)
    words = _words(model)
    made = []
    for _ in range(64):
        text = ""
        while len(model.encode([f"Query: {text}"])[0]) < tokens:
            text += f" {chance.choice(words)}"
        made.append(text.strip())
    return cycle(made)


def _wait(model: "Model") -> None:
    import torch

    if model.device.type == "cuda":
        torch.cuda.synchronize()
