"""A window's attention on a GPU: flash attention over the latest keys and over the sinks, made one.

A row's softmax is over both kinds of keys. Each pass tells the logarithm of its sum of exponentials, by which
the two are weighed, as blocks are in ring attention (Liu et al., arXiv 2310.01889). On the way back each pass
is given what both came to: its gradients are then those of the whole, and no weights were kept. Nothing here
knows where keys are kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)

Applied = Callable[..., Tensor]


def has_flash(query: Tensor) -> bool:
    """Whether `query`, `[…, dim]`, may attend this way: in half precision on a GPU, heads of fitting size."""
    return query.is_cuda and query.dtype in HALF and query.shape[-1] <= 256 and query.shape[-1] % 8 == 0


def sinks_and_recent(query: Tensor, sinks: Tensor, keys: Tensor, recent: int, scaling: float) -> Tensor:
    """Attention over all `sinks` and the `recent` last of `keys` up to each row's own.

    `query` and the result are `[1, heads, rows, dim]`; `sinks` and `keys`, `[2, 1, kv_heads, n, dim]`, hold
    keys and values. The last of `keys` is the last row's, the first is the first that the first row sees;
    there may be no sinks. Gradients flow into all three.
    """
    lines = [keys, sinks] if sinks.shape[3] else [keys]
    flat = [kind.transpose(0, 1) for line in lines for kind in line[:, 0]]
    merged: Applied = _Merged.apply
    return merged(recent, scaling, query[0].transpose(0, 1), *flat).transpose(0, 1)[None]


@dataclass(frozen=True, slots=True)
class _Pass:
    """One pass of flash attention over one line of keys: the latest `recent` of them, or all with None."""

    recent: int | None
    scaling: float

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Output `[rows, heads, dim]`, logarithm of the sum, and two tensors that the way back wants."""
        found: tuple[Tensor, ...] = torch.ops.aten._flash_attention_forward(
            query, key, value, *self._ends(query, key), False, **self._how()
        )
        return found[:4]

    def backward(self, grad: Tensor, query: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
        """Gradients of queries, keys and values.

        `kept`: keys, values, the output and logarithm of all passes together, and what `forward` wants kept.
        """
        key, value, out, total, *state = kept
        grads: tuple[Tensor, ...] = torch.ops.aten._flash_attention_backward(
            grad, query, key, value, out, total, *self._ends(query, key), *state, **self._how()
        )
        return grads

    def _ends(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, int, int, float, bool]:
        """Where the only sequence ends, its lengths, no dropout, and whether it is causal."""
        rows, keys = len(query), len(key)
        ends = [torch.arange(0, 2 * n, n, dtype=torch.int32, device=query.device) for n in (rows, keys)]
        return ends[0], ends[1], rows, keys, 0.0, self.recent is not None

    def _how(self) -> dict[str, Any]:
        window = {} if self.recent is None else {"window_size_left": self.recent - 1, "window_size_right": 0}
        return {"scale": self.scaling, **window}


class _Context(Protocol):
    """What the way back finds of the way there."""

    passes: list[_Pass]
    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep tensors."""


class _Merged(torch.autograd.Function):
    """Attention over the latest keys and, where they are given, all of a second line: `[rows, heads, dim]`.

    `tensors` are queries, and keys and values of each line, `[n, heads, dim]`.
    """

    @staticmethod
    def forward(ctx: _Context, recent: int, scaling: float, *tensors: Tensor) -> Tensor:
        query, *lines = tensors
        ctx.passes = [_Pass(recent, scaling), _Pass(None, scaling)][: len(lines) // 2]
        parts = [one.forward(query, *lines[2 * n : 2 * n + 2]) for n, one in enumerate(ctx.passes)]
        out, total, *states = parts[0]
        for part in parts[1:]:
            both = torch.logaddexp(total, part[1])
            kept, added = (
                (log - both).exp().view(out.shape[1], -1).t()[..., None] for log in (total, part[1])
            )
            out, total = (kept * out + added * part[0]).to(out.dtype), both
            states += part[2:]
        ctx.save_for_backward(*tensors, out, total, *states)
        return out

    @staticmethod
    def backward(ctx: _Context, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved, count = ctx.saved_tensors, len(ctx.passes)
        query, *lines = saved[: 1 + 2 * count]
        out, total, *states = saved[1 + 2 * count :]
        grad = grads[0].contiguous()
        found = [
            one.backward(grad, query, *lines[2 * n : 2 * n + 2], out, total, *states[2 * n : 2 * n + 2])
            for n, one in enumerate(ctx.passes)
        ]
        into_query = found[0][0] if count == 1 else found[0][0] + found[1][0]
        return None, None, into_query, *(into for part in found for into in part[1:])
