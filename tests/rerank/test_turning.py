"""Turning against the models' own positions: what a token alone would have been had it stood elsewhere."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    Cohere2Config,
    Cohere2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GlmConfig,
    GlmForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from rerank.errors import ModelUnfit
from rerank.late.turning import Turning
from rerank.layout import Layout
from rerank.model import Model
from rerank.observe import AttentionCall
from rerank.packed import run_packed
from rerank.rotary import Rotary
from tests.rerank.conftest import FAMILIES, SMALL, make_model

YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 512}
MIXED = ["sliding_attention", "full_attention"] * 2

ODD: dict[str, Callable[[], PreTrainedModel]] = {
    # Scales what it turns.
    "yarn": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, rope_parameters=YARN)),
    # Two kinds of layers, each with turns of its own.
    "gemma3-mixed": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SMALL, head_dim=16, sliding_window=40, layer_types=MIXED)
    ),
    # Neighbours are pairs, and layers without a window do not turn.
    "cohere2": lambda: Cohere2ForCausalLM(Cohere2Config(**SMALL, sliding_window=40, layer_types=MIXED)),
    # Neighbours are pairs, in half of a head.
    "glm": lambda: GlmForCausalLM(GlmConfig(**SMALL, head_dim=8, attention_bias=False)),
}

HEADS = [(0, 1), (1, 0), (1, 1), (3, 0)]


@pytest.fixture(params=[*FAMILIES, *ODD])
def model(
    request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> Model:
    for family, make in ODD.items():
        monkeypatch.setitem(FAMILIES, family, make)
    return make_model(request.param, tokenizer)


def keys_at(model: Model, positions: list[int]) -> Tensor:
    """Keys of `HEADS` of one token that sees only itself, at each position: `[positions, heads, dim]`."""
    seen: dict[int, Tensor] = {}

    def take(call: AttentionCall, _: Tensor, key: Tensor) -> None:
        seen[call.layer] = key

    count = len(positions)
    run_packed(
        model,
        None,
        torch.full((1, count), 77),
        torch.tensor([positions]),
        Layout.of([1] * count, 0, model.device),
        3,
        take,
    )
    return torch.stack([seen[layer][:, group] for layer, group in HEADS], dim=1)


@pytest.mark.parametrize("target", [0, 64])
def test_a_key_is_turned_to_what_it_would_be_elsewhere(model: Model, target: int) -> None:
    turning = Turning(Rotary(model, "go"), [layer for layer, _ in HEADS], target)
    positions = [0, 1, 50, 300, 64]
    turned = turning(keys_at(model, positions), torch.tensor(positions))
    expected = keys_at(model, [target]).expand_as(turned)
    torch.testing.assert_close(turned, expected, atol=1e-4, rtol=1e-4)


def test_turning_there_and_back_is_nothing(model: Model) -> None:
    rotary = Rotary(model, "go")
    layers = [layer for layer, _ in HEADS]
    states = torch.randn(5, len(HEADS), model.shape.head_dim)
    there = Turning(rotary, layers, 123)(states, torch.zeros(5, dtype=torch.long))
    back = Turning(rotary, layers, 0)(there, torch.full((5,), 123))
    assert float((there - states).abs().max()) > 0.1
    torch.testing.assert_close(back, states, atol=1e-5, rtol=1e-5)


def test_what_is_kept_in_half_precision_comes_back_in_it(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama", tokenizer, torch.bfloat16)
    turned = Turning(Rotary(model, "go"), [layer for layer, _ in HEADS], 0)(
        keys_at(model, [0, 300]), torch.tensor([0, 300])
    )
    assert turned.dtype == torch.bfloat16
    apart = (turned[0] - turned[1]).float().norm() / turned[0].float().norm()
    assert 0 < float(apart) < 0.01


def test_layers_that_do_not_turn_are_found(model: Model) -> None:
    rotary = Rotary(model, "go")
    still = [layer for layer in range(4) if rotary.kind(layer) is None]
    assert still == {"smollm3": [3], "cohere2": [1, 3]}.get(model.name, [])


def test_models_of_other_positions_are_refused(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    model = make_model("llama", tokenizer)

    def place(_module: nn.Module, _args: object, found: Tensor) -> Tensor:
        return found + torch.arange(found.shape[1])[:, None]

    # Positions that enter elsewhere too.
    hook = model.network.get_input_embeddings().register_forward_hook(place)
    with pytest.raises(
        ModelUnfit, match="llama: the positions of LlamaForCausalLM cannot be taken apart; go"
    ):
        Rotary(model, "go")
    hook.remove()
    Rotary(model, "go")


def test_models_whose_function_wants_something_else_are_refused(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its cosines are of half a head, once for both numbers of a pair.
    config = GptOssConfig(**SMALL, head_dim=8, num_local_experts=2, num_experts_per_tok=1)
    monkeypatch.setitem(FAMILIES, "gpt-oss", lambda: GptOssForCausalLM(config))
    with pytest.raises(ModelUnfit, match="gpt-oss: the positions of GptOssForCausalLM cannot be taken apart"):
        Rotary(make_model("gpt-oss", tokenizer), "go")
