"""What query rows see of themselves: the log-sum-exp of a row over the prefix and its own query up to it.

One kernel computes it on a GPU in half precision (`rerank.packed_kernel`), plain PyTorch elsewhere.
"""

import torch
from torch import Tensor

from rerank.layout import Layout


def own_mass(
    query: Tensor, key: Tensor, front: Tensor, layout: Layout, groups: Tensor, scale: float
) -> Tensor:
    """Return log Σ exp(q·k·scale) over `front` and the row's own sequence up to it: fp32 `[rows, heads]`.

    `query` is `[rows, heads, dim]`, `key` `[rows, kv_heads, dim]`, `front` `[prefix, kv_heads, dim]`;
    `groups`, int64, are the KV groups that are asked for, in order: other heads hold nothing of use. A
    layer's window does not count, as it does not for documents.
    """
    if query.is_cuda and query.dtype != torch.float32:
        from rerank.packed_kernel import mass_of_blocks

        return mass_of_blocks(query, key, front, layout.blocks, groups, scale)
    seen = layout.seen(None)
    shared = query.shape[1] // key.shape[1]
    rows = query.float().unflatten(1, (-1, shared))[:, groups]
    keys = torch.cat([front[:, groups], key[:, groups]]).float()
    logits = torch.einsum("rghd,kgd->ghrk", rows, keys) * scale
    out = query.new_zeros(query.shape[:2], dtype=torch.float32)
    found = logits.masked_fill_(~seen, -torch.inf).logsumexp(dim=-1)
    out.unflatten(1, (-1, shared))[:, groups] = found.permute(2, 0, 1)
    return out
