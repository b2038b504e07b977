"""The kernel for short sequences against a naive loop, and each sequence alone against all together."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rerank.layout import Layout
from rerank.observe import AttentionCall

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

LENGTHS = [3, 60, 1, 16, 333]

Attend = Callable[[Tensor, Tensor, Tensor, tuple[Tensor, Tensor], Tensor, AttentionCall], Tensor]


@pytest.fixture
def attend() -> Attend:
    from rerank.packed_kernel import attend_blocks

    return attend_blocks


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, device="cuda").to(torch.bfloat16)


@pytest.mark.parametrize("sliding", [None, 40])
@pytest.mark.parametrize("prefix", [0, 1, 70])
@pytest.mark.parametrize(
    ("heads", "kv_heads", "dim"), [(8, 2, 128), (9, 3, 64), (14, 2, 64), (3, 3, 80), (24, 2, 64)]
)
def test_equals_a_naive_loop(
    attend: Attend, heads: int, kv_heads: int, dim: int, prefix: int, sliding: int | None
) -> None:
    torch.manual_seed(4)
    rows = sum(LENGTHS)
    joined = drawn(rows, heads + 2 * kv_heads, dim)
    query, key, value = joined.split([heads, kv_heads, kv_heads], dim=1)
    front = drawn(prefix, kv_heads, dim), drawn(prefix, kv_heads, dim)
    layout = Layout.of(LENGTHS, prefix, query.device)
    call = AttentionCall(0, dim**-0.5, sliding=sliding)
    got = attend(query, key, value, front, layout.blocks, call)
    keys, values = (
        torch.cat(pair).repeat_interleave(heads // kv_heads, dim=1).double()
        for pair in ((front[0], key), (front[1], value))
    )
    logits = torch.einsum("rhd,khd->hrk", query.double(), keys) * call.scaling
    weights = logits.masked_fill(~layout.seen(sliding), -torch.inf).softmax(dim=-1)
    expected = torch.einsum("hrk,khd->rhd", weights, values)
    torch.testing.assert_close(got.double(), expected, atol=1e-2, rtol=1e-2)


def test_a_row_reads_the_same_alone_and_among_many(attend: Attend) -> None:
    torch.manual_seed(5)
    query, key, value = drawn(sum(LENGTHS), 8, 128), drawn(sum(LENGTHS), 2, 128), drawn(sum(LENGTHS), 2, 128)
    front = drawn(61, 2, 128), drawn(61, 2, 128)
    call = AttentionCall(0, 128**-0.5)
    whole = attend(query, key, value, front, Layout.of(LENGTHS, 61, query.device).blocks, call)
    start = 0
    for length in LENGTHS:
        own = slice(start, start + length)
        blocks = Layout.of([length], 61, query.device).blocks
        assert torch.equal(attend(query[own], key[own], value[own], front, blocks, call), whole[own])
        start += length


def test_blocks_of_no_use_do_nothing(attend: Attend) -> None:
    query, key, value = drawn(20, 4, 64), drawn(20, 2, 64), drawn(20, 2, 64)
    front = drawn(5, 2, 64), drawn(5, 2, 64)
    blocks = Layout.of([9, 11], 5, query.device).blocks
    call = AttentionCall(0, 0.125)
    padded = torch.nn.functional.pad(blocks, (0, 7))
    got, expected = (attend(query, key, value, front, places, call) for places in (padded, blocks))
    assert torch.equal(got, expected)


def test_heads_may_lie_apart(attend: Attend) -> None:
    torch.manual_seed(6)
    query, key = drawn(4, 20, 64).transpose(0, 1), drawn(2, 20, 64).transpose(0, 1)
    front = drawn(2, 5, 64).transpose(0, 1), drawn(5, 2, 64)
    blocks = Layout.of([9, 11], 5, query.device).blocks
    call = AttentionCall(0, 0.125)
    beside = (front[0].contiguous(), front[1])
    expected = attend(query.contiguous(), key.contiguous(), key.contiguous(), beside, blocks, call)
    assert torch.equal(attend(query, key, key, front, blocks, call), expected)
