"""A layer's small steps as one kernel each and its projections as few products, on a GPU in half precision.

What transformers writes as many passes over memory (RMSNorm: to fp32, square, mean, root, product, back;
SwiGLU: silu, product; RoPE: negate, join, two products, sum, for queries and for keys) costs a long prefill
a fourth of its time, and a short one a launch a pass. Queries, keys and values come from one product, and so
do SwiGLU's halves: their weights are made parts of one tensor. The sums are the same; only roundings in
between fall away. Only classes whose code is known are touched, and not while gradients are taken.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel
from transformers.activations import SiLUActivation
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama import modeling_llama as llama
from transformers.models.mistral import modeling_mistral as mistral
from transformers.models.qwen2 import modeling_qwen2 as qwen2
from transformers.models.qwen3 import modeling_qwen3 as qwen3

Attention = Callable[..., tuple[Tensor, Tensor | None]]

NORMS = (llama.LlamaRMSNorm, mistral.MistralRMSNorm, qwen2.Qwen2RMSNorm, qwen3.Qwen3RMSNorm)
GATED = (llama.LlamaMLP, mistral.MistralMLP, qwen2.Qwen2MLP, qwen3.Qwen3MLP)
SILU = (nn.SiLU, SiLUActivation)
WINDOWS: dict[type[nn.Module], Callable[[Any], int | None]] = {
    llama.LlamaAttention: lambda _: None,
    mistral.MistralAttention: lambda module: getattr(module.config, "sliding_window", None),
    qwen2.Qwen2Attention: lambda module: module.sliding_window,
}
"""Attention that is projections, RoPE over whole heads and nothing else, and where its window is said."""


def fuse(network: PreTrainedModel) -> None:
    """Fuse the steps of every layer that is known; does nothing elsewhere than on a GPU in half precision."""
    if network.device.type != "cuda" or network.dtype not in (torch.bfloat16, torch.float16):
        return
    modules: list[Any] = list(network.modules())
    for module in modules:
        kind = type(module)
        if kind in NORMS:
            module.forward = MethodType(_norm, module)
        elif kind in GATED and type(module.act_fn) in SILU and is_plain(module.gate_proj, module.up_proj):
            both = join(module.gate_proj, module.up_proj)
            module.forward = MethodType(_gated(module.forward, both), module)
        elif kind in WINDOWS and is_plain(module.q_proj, module.k_proj, module.v_proj):
            three = join(module.q_proj, module.k_proj, module.v_proj)
            module.forward = MethodType(_attention(module.forward, WINDOWS[kind](module), three), module)


def is_plain(*projections: nn.Module) -> bool:
    """Whether these are linear projections and no more, all of them with a bias or none."""
    return (
        all(type(one) is nn.Linear for one in projections)
        and len({one.bias is None for one in projections}) == 1
    )


def join(*projections: nn.Linear) -> nn.Linear:
    """One projection in place of several of one input: their weights become parts of its."""
    sizes = [one.out_features for one in projections]
    whole = nn.Linear(projections[0].in_features, sum(sizes), projections[0].bias is not None, device="meta")
    for name, _ in list(whole.named_parameters()):
        parts = [getattr(one, name) for one in projections]
        joined = torch.cat([part.detach() for part in parts])
        setattr(whole, name, nn.Parameter(joined, requires_grad=False))
        for one, old, new in zip(projections, parts, joined.split(sizes), strict=True):
            setattr(one, name, nn.Parameter(new, requires_grad=old.requires_grad))
    return whole


def _norm(module: llama.LlamaRMSNorm, hidden: Tensor) -> Tensor:
    weight: Tensor = module.weight
    if torch.is_grad_enabled() or not hidden.is_cuda:
        return nn.functional.rms_norm(hidden, weight.shape, weight, module.variance_epsilon)
    # Triton is only there beside a GPU.
    from rerank.fused_kernel import norm

    return norm(hidden, weight, module.variance_epsilon)


def _gated(plain: Callable[[Tensor], Tensor], both: nn.Linear) -> Callable[..., Tensor]:
    # Triton is only there beside a GPU.
    from rerank.fused_kernel import silu_product

    def forward(module: llama.LlamaMLP, hidden: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return plain(hidden)
        out: Tensor = module.down_proj(silu_product(both(hidden)))
        return out

    return forward


def _attention(plain: Attention, window: int | None, joined: nn.Linear) -> Attention:
    from rerank.fused_kernel import rotate

    def forward(
        module: llama.LlamaAttention,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        **keywords: object,
    ) -> tuple[Tensor, Tensor | None]:
        cos, sin = position_embeddings
        front = hidden_states.shape[:-1]
        if torch.is_grad_enabled() or cos.shape != (*front, module.head_dim):
            return plain(hidden_states, position_embeddings, attention_mask, past_key_values, **keywords)
        sizes = [one.out_features for one in (module.q_proj, module.k_proj, module.v_proj)]
        query, key, value = (
            states.unflatten(-1, (-1, module.head_dim))
            for states in joined(hidden_states).split(sizes, dim=-1)
        )
        rotate(query, key, cos, sin)
        query, key, value = (states.transpose(1, 2) for states in (query, key, value))
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, module.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS[module.config._attn_implementation]
        out, weights = attend(
            module,
            query,
            key,
            value,
            attention_mask,
            scaling=module.scaling,
            sliding_window=window,
            **keywords,
        )
        return module.o_proj(out.reshape(*front, -1).contiguous()), weights

    return forward
