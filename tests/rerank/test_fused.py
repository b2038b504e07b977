import copy

import pytest
import torch
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from rerank.fused import _norm, fuse, is_plain, join
from tests.rerank.conftest import FAMILIES

KNOWN = ("llama", "mistral", "qwen2", "qwen3")


def tokens(device: str = "cpu") -> torch.Tensor:
    return torch.arange(5, 45, device=device)[None]


def fused_modules(network: PreTrainedModel) -> int:
    return sum("forward" in vars(module) for module in network.modules())


def test_the_norm_is_the_same() -> None:
    module = LlamaRMSNorm(24, eps=1e-3)
    torch.nn.init.normal_(module.weight)
    hidden = torch.randn(2, 7, 24)
    torch.testing.assert_close(_norm(module, hidden), module(hidden))


def test_nothing_is_touched_on_a_cpu() -> None:
    network = FAMILIES["llama"]()
    fuse(network)
    assert fused_modules(network) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_fused_layers_say_the_same(family: str) -> None:
    torch.manual_seed(3)
    network = FAMILIES[family]().eval().to(torch.bfloat16).cuda()
    fused = copy.deepcopy(network)
    fuse(fused)
    assert (fused_modules(fused) > 0) == (family.split("-")[0] in KNOWN)
    exact = copy.deepcopy(network).float().base_model(tokens("cuda")).last_hidden_state
    with torch.inference_mode():
        error = (fused.base_model(tokens("cuda")).last_hidden_state - exact).abs().mean()
        plain = (network.base_model(tokens("cuda")).last_hidden_state - exact).abs().mean()
    assert error <= plain * 1.2 + 1e-4
    with torch.enable_grad():
        fused.base_model(tokens("cuda")).last_hidden_state.float().sum().backward()
    assert fused.get_input_embeddings().weight.grad.isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("shape", [(1, 3, 4096), (2, 5, 576), (1, 2, 3, 64), (0, 896)])
def test_the_norm_is_the_same_on_a_gpu(shape: tuple[int, ...]) -> None:
    torch.manual_seed(2)
    module = LlamaRMSNorm(shape[-1], eps=1e-3).cuda()
    torch.nn.init.normal_(module.weight)
    hidden = torch.randn(*shape, device="cuda")
    with torch.inference_mode():
        torch.testing.assert_close(_norm(module, hidden.transpose(0, -2)), module(hidden.transpose(0, -2)))


@pytest.mark.parametrize("bias", [False, True])
def test_joined_projections_say_what_each_said_and_share_their_weights(bias: bool) -> None:
    torch.manual_seed(3)
    parts = [torch.nn.Linear(6, size, bias) for size in (4, 2, 2)]
    states = torch.randn(3, 6)
    expected = [part(states) for part in parts]
    whole = join(*parts)
    torch.testing.assert_close(whole(states), torch.cat(expected, dim=-1))
    for part, said in zip(parts, expected, strict=True):
        torch.testing.assert_close(part(states), said)
    assert len({part.weight.untyped_storage().data_ptr() for part in [whole, *parts]}) == 1


def test_only_plain_projections_are_joined() -> None:
    linear, with_bias = torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2)
    other = type("Other", (torch.nn.Linear,), {})(2, 2, bias=False)
    assert is_plain(linear, linear)
    assert not is_plain(linear, with_bias)
    assert not is_plain(linear, other)
