"""Packed sequences against each of them run alone by the stock implementation."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from rerank.layout import Layout
from rerank.model import Model
from rerank.observe import AttentionCall
from rerank.packed import Pack, Prefix, read_prefix, run_packed
from tests.rerank.conftest import FAMILIES, make_model

SEQUENCES = [[5, 6, 7], [8] * 60, [9], [10, 11] * 25]
FRONT = list(range(20, 70))


def packed(model: Model, prefix: Prefix | None, last: int) -> list[tuple[Tensor, Tensor]]:
    """Queries and keys of each layer, of `SEQUENCES` run as one."""
    taken: list[tuple[Tensor, Tensor]] = []

    def take(call: AttentionCall, query: Tensor, key: Tensor) -> None:
        assert call.layer == len(taken)
        taken.append((query.clone(), key.clone()))

    lengths = [len(sequence) for sequence in SEQUENCES]
    length, first = (0, 0) if prefix is None else (prefix.length, prefix.next)
    tokens = torch.tensor([[token for sequence in SEQUENCES for token in sequence]])
    positions = torch.cat([torch.arange(length) for length in lengths])[None] + first
    layout = Layout.of(lengths, length, model.device)
    run_packed(model, prefix, tokens, positions, layout, last, take)
    return taken


def cached_keys(model: Model, tokens: list[int]) -> list[Tensor]:
    """Each layer's keys `[tokens, kv_heads, dim]`, by the house's own cache and stock attention."""
    cache: Any = model.new_cache(len(tokens))
    model.read(tokens, cache)
    return [layer.keys[0, :, : len(tokens)].transpose(0, 1) for layer in cache.layers]


@pytest.mark.parametrize("front", [[], FRONT], ids=["alone", "behind a prefix"])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_is_as_if_alone(family: str, front: list[int], tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model(family, tokenizer)
    taken = packed(model, read_prefix(model, front, 3) if front else None, 3)
    assert len(taken) == 4
    start = 0
    for sequence in SEQUENCES:
        expected = cached_keys(model, front + sequence)
        for (_, keys), own in zip(taken, expected, strict=True):
            torch.testing.assert_close(
                keys[start : start + len(sequence)], own[len(front) :], atol=2e-5, rtol=1e-5
            )
        start += len(sequence)


@pytest.mark.parametrize("family", FAMILIES)
def test_few_rows_behind_a_long_prefix_by_plain_products(
    family: str, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(family, tokenizer)
    prefix = read_prefix(model, FRONT, 3)
    expected = packed(model, prefix, 3)
    monkeypatch.setattr("rerank.packed.TALL", len(FRONT))
    monkeypatch.setattr("rerank.packed._is_flash", lambda *_: True)
    monkeypatch.setattr(Pack, "_flash", None)
    for (rows, keys), (want_rows, want_keys) in zip(packed(model, prefix, 3), expected, strict=True):
        torch.testing.assert_close(rows, want_rows, atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(keys, want_keys, atol=2e-5, rtol=1e-5)


def test_no_layer_runs_beyond_the_last(small: Model) -> None:
    reached = []
    hooks = [
        module.register_forward_hook(lambda *_, number=number: reached.append(number))
        for number, layer in enumerate(small.network.base_model.layers)
        for module in [layer.mlp]
    ]
    try:
        assert len(packed(small, None, 2)) == 3
    finally:
        for hook in hooks:
            hook.remove()
    assert reached == [0, 1], "the MLP of the last wanted layer is not run"


@pytest.mark.parametrize("chunk", [7, 50, 10_000])
def test_a_prefix_read_in_chunks_and_in_two_parts(
    small: Model, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_prefix(small, FRONT, 4)
    monkeypatch.setattr("rerank.packed.CHUNK", {True: chunk, False: chunk})
    parts = read_prefix(small, FRONT[30:], 4, after=read_prefix(small, FRONT[:30], 4))
    assert (
        (whole.length, whole.next, len(whole.keys))
        == (parts.length, parts.next, len(parts.keys))
        == (50, 50, 4)
    )
    expected = cached_keys(small, FRONT)
    for layer in range(4):
        for prefix in (whole, parts):
            torch.testing.assert_close(prefix.keys[layer], expected[layer], atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(whole.values[layer], parts.values[layer], atol=2e-5, rtol=1e-5)


def test_a_gap_moves_positions_once(small: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_prefix(small, FRONT[:30], 4)
    apart = read_prefix(small, FRONT[30:], 4, after=before, gap=100)
    monkeypatch.setattr("rerank.packed.CHUNK", {True: 6, False: 6})
    chunked = read_prefix(small, FRONT[30:], 4, after=before, gap=100)
    assert (apart.length, apart.next) == (chunked.length, chunked.next) == (50, 150)
    for one, other in zip(apart.keys, chunked.keys, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-5)
