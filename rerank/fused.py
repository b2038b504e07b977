"""A layer's small steps as one kernel each, on a GPU in half precision.

What transformers writes as many passes over memory (RMSNorm: to fp32, square, mean, root, product, back;
SwiGLU: silu, product; RoPE: negate, join, two products, sum, for queries and for keys) costs a long prefill
a fourth of its time, and a short one a launch a pass. The sums are the same; only roundings in between fall
away. Only classes whose code is known are touched, and not while gradients are taken.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel
from transformers.activations import SiLUActivation
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaMLP, LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralAttention, MistralMLP, MistralRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention, Qwen2MLP, Qwen2RMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3MLP, Qwen3RMSNorm

Attention = Callable[..., tuple[Tensor, Tensor | None]]

NORMS = (LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm, Qwen3RMSNorm)
GATED = (LlamaMLP, MistralMLP, Qwen2MLP, Qwen3MLP)
SILU = (nn.SiLU, SiLUActivation)
WINDOWS: dict[type[nn.Module], Callable[[Any], int | None]] = {
    LlamaAttention: lambda _: None,
    MistralAttention: lambda module: getattr(module.config, "sliding_window", None),
    Qwen2Attention: lambda module: module.sliding_window,
}
"""Attention that is projections, RoPE over whole heads and nothing else, and where its window is said."""


def fuse(network: PreTrainedModel) -> None:
    """Fuse the steps of every layer that is known; does nothing elsewhere than on a GPU in half precision."""
    if network.device.type != "cuda" or network.dtype not in (torch.bfloat16, torch.float16):
        return
    for module in network.modules():
        kind = type(module)
        if kind in NORMS:
            module.forward = MethodType(_norm, module)
        elif kind in GATED and type(module.act_fn) in SILU:
            module.forward = MethodType(_gated(), module)
        elif kind in WINDOWS:
            module.forward = MethodType(_attention(module.forward, WINDOWS[kind](module)), module)


def _norm(module: LlamaRMSNorm, hidden: Tensor) -> Tensor:
    weight: Tensor = module.weight
    return nn.functional.rms_norm(hidden, weight.shape, weight, module.variance_epsilon)


def _gated() -> Callable[[LlamaMLP, Tensor], Tensor]:
    # Triton is only there beside a GPU.
    from rerank.fused_kernel import silu_product

    def forward(module: LlamaMLP, hidden: Tensor) -> Tensor:
        gate, up = module.gate_proj(hidden), module.up_proj(hidden)
        inner = module.act_fn(gate) * up if torch.is_grad_enabled() else silu_product(gate, up)
        out: Tensor = module.down_proj(inner)
        return out

    return forward


def _attention(plain: Attention, window: int | None) -> Attention:
    from rerank.fused_kernel import rotate

    def forward(
        module: LlamaAttention,
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
        query, key, value = (
            project(hidden_states).view(*front, -1, module.head_dim)
            for project in (module.q_proj, module.k_proj, module.v_proj)
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
