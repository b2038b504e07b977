"""Every policy against its definition: plain eager attention under the policy's mask, written down anew."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast

from rerank.errors import BadPolicy, ModelUnfit
from rerank.model import Model, Shape
from rerank.policies import POLICIES, DuoPolicy, FullPolicy, Policy, RazorPolicy, StreamingPolicy
from rerank.policies import kernels as kernels_module
from rerank.policies.cache import HeldCache
from rerank.policies.duo import retrieval_heads
from rerank.policies.razor import _Copies, copy_scores, copying_heads
from rerank.policies.recorded import RecordedSteps
from tests.rerank.conftest import FAMILIES, SMALL, make_model

MIXED = ((True, False), (False, False), (True, True), (False, True))
"""Of the tiny models' four layers of two KV heads: both kinds in a layer, either way round, and one kind."""

ROWS: dict[str, Policy] = {
    "full": FullPolicy(),
    "streaming": StreamingPolicy(sinks=3, recent=9),
    "duo": DuoPolicy(MIXED, sinks=5, recent=7),
    "razor": RazorPolicy(MIXED, sinks=2, recent=11),
}
TOKENS = [7 + place * 31 % 380 for place in range(90)]
PROMPT = 84
"""Tokens read in chunks; the rest is read one at a time."""
SHAPE = Shape(layers=4, heads=6, kv_heads=2, head_dim=8, context=2048)


def eager(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    scaling: float,
    policy: Policy,
    shape: Shape,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """The definition: all keys, `policy.mask`, and one more logit for the mean of what is dropped."""
    layer, rows, sharing = module.layer_idx, query.shape[2], query.shape[1] // key.shape[1]
    assert isinstance(layer, int)
    causal = torch.ones(rows, rows).tril().bool()
    seen = policy.mask(shape, layer, rows)
    dropped = (causal & ~seen).to(query.dtype)
    count = dropped.sum(-1)
    if sliding_window is not None:
        seen = seen & ~torch.ones(rows, rows).tril(-sliding_window).bool()
    if sliding_window is not None or not policy.window.compensated:
        count = torch.zeros_like(count)
    heads = []
    for head in range(query.shape[1]):
        group = head // sharing
        q, k, v = query[0, head], key[0, group], value[0, group]
        mean_key, mean_value = (dropped[group] @ x / count[group].clamp(min=1)[:, None] for x in (k, v))
        logits = torch.cat([q @ k.T, (q * mean_key).sum(-1, keepdim=True)], dim=1) * scaling
        if softcap is not None:
            logits = softcap * torch.tanh(logits / softcap)
        logits[:, :rows].masked_fill_(~seen[group], -math.inf)
        logits[:, rows] += count[group].log()
        weights = logits.softmax(-1)
        heads.append(weights[:, :rows] @ v + weights[:, rows:] * mean_value)
    return torch.stack(heads)[None].transpose(1, 2), None


AttentionInterface.register("policy-eager", eager)


def reference(model: Model, policy: Policy) -> Tensor:
    """Hidden states `[tokens, hidden]` of one fp64 pass under `policy`, without a cache of any kind."""
    model.network.set_attn_implementation("policy-eager")
    model.network.double()
    with torch.no_grad():
        states: Tensor = model.network.base_model(
            torch.tensor([TOKENS]),
            attention_mask=torch.ones(1, 1, 1, 1),
            use_cache=False,
            policy=policy,
            shape=model.shape,
        ).last_hidden_state[0]
    model.network.set_attn_implementation("observed")
    model.network.float()
    return states.float()


def far(got: Tensor, expected: Tensor) -> float:
    """How far apart two vectors are, relative to the second's length."""
    return float((got - expected).norm() / expected.norm())


def gemma2(tokenizer: PreTrainedTokenizerFast) -> Model:
    """A family that caps its logits, which no fused kernel does."""
    torch.manual_seed(7)
    config: dict[str, Any] = {**SMALL, "head_dim": 16, "sliding_window": 40, "attn_logit_softcapping": 2.0}
    network = Gemma2ForCausalLM(Gemma2Config(**config))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
    return Model("gemma2", network, tokenizer)


BUILDERS: dict[str, Callable[[PreTrainedTokenizerFast], Model]] = {
    **{family: partial(make_model, family) for family in FAMILIES},
    "gemma2": gemma2,
}


def test_every_policy_is_in_the_matrix() -> None:
    assert {name: type(policy) for name, policy in ROWS.items()} == POLICIES
    assert all(name == policy.name for name, policy in POLICIES.items())


@pytest.mark.parametrize("family", BUILDERS)
@pytest.mark.parametrize("name", ROWS)
def test_a_policys_cache_is_its_definition(
    name: str, family: str, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, policy = BUILDERS[family](tokenizer), ROWS[name]
    expected = reference(model, policy)
    for chunk, tile in ((1000, 512), (37, 10), (5, 512), (1, 512)):
        monkeypatch.setattr("rerank.model.PREFILL_CHUNK", chunk)
        monkeypatch.setattr(kernels_module, "TILE", tile)
        cache = policy.cache(model.shape, len(TOKENS))
        assert far(model.read(TOKENS[:PROMPT], cache), expected[PROMPT - 1]) < 1e-5, chunk
        assert cache.length == cache.get_seq_length() == PROMPT
        for place in range(PROMPT, len(TOKENS)):
            assert far(model.read([TOKENS[place]], cache), expected[place]) < 1e-5, (chunk, place)


@pytest.mark.parametrize("family", ["llama", "phi", "qwen3"])
@pytest.mark.parametrize("name", ROWS)
def test_recorded_steps_are_the_definition(
    name: str, family: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    model, policy = BUILDERS[family](tokenizer), ROWS[name]
    expected = reference(model, policy)
    cache = policy.cache(model.shape, len(TOKENS))
    assert isinstance(cache, HeldCache)
    model.read(TOKENS[:40], cache)
    steps = RecordedSteps(model, cache)
    for place in range(40, 60):
        assert far(steps.read(TOKENS[place]), expected[place]) < 1e-5, place
    # Back to ordinary reading, and on.
    assert far(model.read(TOKENS[60:89], cache), expected[88]) < 1e-5
    assert far(RecordedSteps(model, cache).read(TOKENS[89]), expected[89]) < 1e-5
    with pytest.raises(ValueError, match="holds 90 tokens, and one more was written"):
        RecordedSteps(model, cache).read(1)


def test_what_cannot_be_recorded_is_refused(small: Model, tokenizer: PreTrainedTokenizerFast) -> None:
    cache = HeldCache(MIXED, kernels_module.Window(2, 8), 50)
    small.read(TOKENS[:9], cache)
    with pytest.raises(ValueError, match="9 tokens is not full"):
        RecordedSteps(small, cache)
    for family in ("gemma2", "mistral-sliding"):
        with pytest.raises(ModelUnfit, match=f"{family} has layers that cap logits or have a window"):
            RecordedSteps(BUILDERS[family](tokenizer), cache)


class Watcher:
    """Observer: keeps every layer's weights."""

    def __init__(self) -> None:
        self.seen: dict[int, Tensor] = {}

    def see(self, layer: int, weights: Tensor) -> None:
        self.seen[layer] = weights


@pytest.mark.parametrize("family", ["llama", "gemma3", "gemma2"])
@pytest.mark.parametrize("name", ROWS)
def test_weights_lie_at_the_keys_own_positions(
    name: str, family: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    model, policy = BUILDERS[family](tokenizer), ROWS[name]
    expected = reference(model, policy)
    for rows in (6, 1):
        cache, watcher = policy.cache(model.shape, len(TOKENS)), Watcher()
        model.read(TOKENS[:-rows], cache)
        # An observer changes nothing.
        assert far(model.read(TOKENS[-rows:], cache, watcher), expected[-1]) < 1e-5
        for layer, weights in watcher.seen.items():
            assert weights.shape == (1, 6, rows, len(TOKENS))
            torch.testing.assert_close(weights.sum(-1), torch.ones(1, 6, rows), atol=1e-5, rtol=0)
            sharing = policy.mask(model.shape, layer, len(TOKENS)).repeat_interleave(3, dim=0)
            hidden = weights[0][~sharing[:, -rows:]]
            causal = torch.ones(len(TOKENS), len(TOKENS)).tril().bool()[-rows:]
            assert float(weights[0][:, ~causal].abs().max() if rows > 1 else 0) == 0
            spread = policy.window.compensated and not (family != "llama" and layer % 2 == 0)
            assert spread or float(hidden.abs().sum()) == 0


def test_a_compensation_tokens_weight_is_shared_by_those_it_stands_for(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    model, policy, watcher = make_model("llama", tokenizer), ROWS["razor"], Watcher()
    cache = policy.cache(model.shape, 60)
    model.read(TOKENS[:40], cache)
    model.read(TOKENS[40:42], cache, watcher)
    streaming = watcher.seen[1][0]
    for row in (0, 1):
        dropped = streaming[:, row, 2 : 40 + row - 10]
        assert float(dropped.min()) > 0
        torch.testing.assert_close(dropped, dropped[:, :1].expand_as(dropped))
        assert len(set(streaming[0, row, 40 + row - 10 : 40 + row].tolist())) == 10


@pytest.mark.parametrize("name", ROWS)
def test_memory_is_really_saved(name: str, small: Model) -> None:
    policy = ROWS[name]
    cache = policy.cache(small.shape, 1000)
    assert cache.nbytes == 0
    small.read(TOKENS, cache)
    number, window = 2 * 8 * 4, policy.window  # bytes that one token of one KV head takes
    heads = sum(sum(row) for row in policy.full(small.shape))
    kept = 1000 * heads + (window.sinks + window.recent) * (8 - heads)
    if window.compensated:
        kept += 2 * (8 - heads)  # the token itself, and the sum that it is made of
    assert cache.nbytes == kept * number
    prefix = small.new_cache(1000)
    small.read(TOKENS, prefix)
    assert prefix.nbytes == 1000 * 8 * number


@pytest.mark.parametrize("name", ROWS)
def test_what_was_dropped_cannot_be_taken_back(name: str, small: Model) -> None:
    policy = ROWS[name]
    expected = reference(small, policy)
    cache = policy.cache(small.shape, len(TOKENS))
    small.read(TOKENS[:8], cache)
    small.read([3, 4], cache)
    cache.rewind(8)
    assert far(small.read(TOKENS[8:40], cache), expected[39]) < 1e-5
    with pytest.raises(ValueError, match="cannot rewind a cache of 40 tokens to 41"):
        cache.rewind(41)
    if name == "full":
        cache.rewind(30)
        assert far(small.read(TOKENS[30:], cache), expected[-1]) < 1e-5
    else:
        cache.rewind(40)
        with pytest.raises(ValueError, match="streaming heads have let go"):
            cache.rewind(39)


def test_a_context_shorter_than_the_window_is_whole(small: Model) -> None:
    policy = StreamingPolicy(sinks=64, recent=256)
    cache = policy.cache(small.shape, len(TOKENS))
    hidden = small.read(TOKENS[:50], cache)
    hidden = small.read(TOKENS[50:], cache)
    assert far(hidden, reference(small, FullPolicy())[-1]) < 1e-5
    with pytest.raises(ValueError, match="holds 90 tokens, 91 were written"):
        small.read([1], cache)


def test_masks_can_be_read_off() -> None:
    mask = DuoPolicy(((True, False),), sinks=1, recent=2).mask(
        Shape(layers=1, heads=2, kv_heads=2, head_dim=8, context=9), 0, 4
    )
    assert mask.int().tolist() == [
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]],
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1]],
    ]


def test_sparsity_is_the_quantile_and_ties_go_to_the_lower_head() -> None:
    gates = [[0.1, 0.9], [0.5, 0.5], [0.5, 0.2]]
    # The quantiles at 0, .2, … are the sorted gates themselves: .1 .2 .5 .5 .5 .9
    assert retrieval_heads(gates, 0) == ((True, True), (True, True), (True, True))
    assert retrieval_heads(gates, 0.2) == ((False, True), (True, True), (True, True))
    assert retrieval_heads(gates, 0.4) == ((False, True), (True, True), (True, False))
    assert retrieval_heads(gates, 0.6) == ((False, True), (True, True), (False, False))
    assert retrieval_heads(gates, 0.8) == ((False, True), (True, False), (False, False))
    assert retrieval_heads(gates, 0.99) == ((False, True), (False, False), (False, False))
    assert retrieval_heads(gates, 1) == ((False, False), (False, False), (False, False))
    half = retrieval_heads([[1.0] * 8] * 32, 0.5)
    assert [sum(row) for row in half] == [8] * 16 + [0] * 16


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: StreamingPolicy(sinks=-1), "-1 sinks"),
        (lambda: StreamingPolicy(recent=0), "0 recent"),
        (lambda: DuoPolicy(MIXED, recent=-2), "-2 recent"),
        (lambda: RazorPolicy(MIXED, sinks=-4), "-4 sinks"),
        (lambda: DuoPolicy(MIXED[:3]).cache(SHAPE, 9), "3 layers of 2 KV heads, and the model has 4 of 2"),
        (lambda: RazorPolicy(((True,),) * 4).mask(SHAPE, 0, 9), "4 layers of 1 KV heads"),
        (lambda: DuoPolicy(()).cache(SHAPE, 9), "0 layers of no KV heads"),
        (lambda: DuoPolicy.from_gates([[0.5, math.nan]]), "finite"),
        (lambda: DuoPolicy.from_gates([]), "one for each KV head"),
        (lambda: DuoPolicy.from_gates([[0.5]], 1.5), r"sparsity of 1\.5"),
        (lambda: copying_heads(torch.zeros(2, 2), torch.zeros(2, 2), 2.0), "from 0 to 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(BadPolicy, match=says):
        make()


def test_copying_heads_are_the_best_by_either_score() -> None:
    induction = torch.tensor([[0.1, 0.4], [0.4, 0.3]])
    echo = torch.tensor([[0.2, 0.0], [0.0, 0.1]])
    assert copying_heads(induction, echo) == ((True, True), (False, False))
    assert copying_heads(induction, echo, 0.5) == ((True, True), (True, False))
    assert copying_heads(induction, echo, 0, 0) == ((False, False), (False, False))


def test_copy_scores_are_the_attention_to_earlier_copies(small: Model) -> None:
    scores = copy_scores(small, tokens=5, times=3)
    again = copy_scores(small, tokens=5, times=3)
    assert torch.equal(scores.echo, again.echo)
    policy = RazorPolicy.measure(small, tokens=5)
    assert policy.window == kernels_module.Window(4, 4000, compensated=True)
    assert 2 <= sum(sum(row) for row in policy.retrieval) <= 3
    with pytest.raises(BadPolicy, match="nothing is copied"):
        copy_scores(small, times=1)


def test_a_head_that_looks_at_copies_alone_scores_one(small: Model) -> None:
    watcher = _Copies(small.shape, period=7)
    watcher.start = 7
    # Head 0 looks at the earlier copy, head 3 at the token after it, the others at token 0.
    weights = torch.zeros(1, 6, 7, 14)
    weights[0, [1, 2, 4, 5], :, 0] = 1
    for row in range(7):
        weights[0, 0, row, row] = weights[0, 3, row, row + 1] = 1
    watcher.see(2, weights)
    assert (watcher.total / 7)[:, 2].tolist() == [pytest.approx([1 / 7, 1]), pytest.approx([1, 1 / 7])]
