"""What query rows see of themselves: the log-sum-exp of a row over the prefix and its own query up to it.

One kernel computes it on a GPU in half precision (`rerank.late.own_kernel`), plain PyTorch elsewhere.
"""

import torch
from torch import Tensor


def own_mass(
    query: Tensor, front: Tensor, key: Tensor, heads: Tensor, groups: Tensor, first: Tensor, scale: float
) -> Tensor:
    """Return log Σ exp(q·k·scale) over `front` and the rows' own keys from `first[row]` to the row: fp32.

    `query` is `[rows, heads, dim]`, of which `heads` (int64, with their KV `groups`) are asked for; `front`
    `[prefix, kv_heads, dim]`, `key` `[rows, kv_heads, dim]`; `first` int64 `[rows]`, never falling. Returns
    `[rows, chosen heads]`.
    """
    if query.is_cuda and query.dtype != torch.float32:
        from rerank.late.own_kernel import own_mass_on_gpu

        return own_mass_on_gpu(query, front, key, heads, groups, first, scale)
    place = torch.arange(len(first), device=first.device)
    hidden = (place < first[:, None]) | (place > place[:, None])
    hidden = torch.nn.functional.pad(hidden, (len(front), 0), value=False)
    keys = torch.cat([front[:, groups], key[:, groups]])
    logits = torch.einsum("rhd,khd->hrk", query[:, heads].float(), keys.float()) * scale
    return logits.masked_fill_(hidden, -torch.inf).logsumexp(dim=-1).T
