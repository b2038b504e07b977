"""A window by flash attention against its definition, there and back."""

import pytest
import torch
from torch import Tensor

from rerank.observe import AttentionCall
from rerank.policies.flash_window import has_flash
from rerank.policies.kernels import Line, Window, causal, windowed

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, device="cuda").to(torch.bfloat16).requires_grad_()


def defined(query: Tensor, kv: Tensor, seen: Tensor, scaling: float) -> Tensor:
    """Attention in double precision of the last rows over all keys, `seen` `[rows, keys]`."""
    key, value = kv.double().repeat_interleave(query.shape[1] // kv.shape[2], dim=2).unbind()
    logits = (query.double() @ key.transpose(2, 3) * scaling).masked_fill(~seen, -torch.inf)
    return logits.softmax(dim=-1) @ value


def check(query: Tensor, kv: Tensor, got: Tensor, seen: Tensor, scaling: float) -> None:
    """Output and gradients are the definition's, to what half precision holds."""
    expected = defined(query, kv, seen, scaling)
    torch.testing.assert_close(got.double(), expected, atol=1e-2, rtol=1e-2)
    weight = torch.randn_like(got)
    found = torch.autograd.grad(got, (query, kv), weight)
    wanted = torch.autograd.grad(expected, (query, kv), weight.double())
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours.double() - theirs).norm() < 1e-2 * theirs.norm()


@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(14, 2, 64), (9, 3, 64), (4, 4, 80), (8, 2, 128)])
@pytest.mark.parametrize(
    ("sinks", "recent", "start", "rows"),
    [
        (16, 32, 0, 333),
        (16, 32, 0, 30),
        (128, 256, 0, 1500),
        (16, 32, 20, 100),
        (16, 32, 48, 1),
        (16, 32, 47, 2),
        (16, 32, 500, 77),
        (0, 64, 0, 300),
        (0, 64, 90, 40),
    ],
)
def test_is_its_definition(
    heads: int, kv_heads: int, dim: int, sinks: int, recent: int, start: int, rows: int
) -> None:
    torch.manual_seed(3)
    window, call = Window(sinks, recent), AttentionCall(0, dim**-0.5)
    query, kv = drawn(1, heads, rows, dim), drawn(2, 1, kv_heads, start + rows, dim)
    assert has_flash(query)
    low = max(sinks, start - recent)
    line = Line(kv[..., :sinks, :], kv[..., low:, :], low)
    place = torch.arange(start + rows, device="cuda")
    got = windowed(query, line, start, window, call)
    check(query, kv, got, window.sees(place[start:], place), call.scaling)


@pytest.mark.parametrize(("rows", "keys"), [(200, 200), (70, 200), (1, 200), (3, 50)])
def test_a_models_own_window_is_kept(rows: int, keys: int) -> None:
    torch.manual_seed(3)
    call = AttentionCall(0, 0.125, sliding=64)
    query, kv = drawn(1, 8, rows, 64), drawn(2, 1, 2, keys, 64)
    place = torch.arange(keys, device="cuda")
    got = causal(query, kv, call)
    check(query, kv, got, Window(0, 64).sees(place[keys - rows :], place), call.scaling)
