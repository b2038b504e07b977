"""Gates on tiny models: what is trained, what is kept, and what training can go on from."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from rerank.errors import BadPolicy, ContextTooSmall, ModelUnfit, TrainingConflict
from rerank.gatefiles import draw_losses, write_pattern
from rerank.gates import GateMix, GateSettings, ramp, train_gates
from rerank.gates_quick import quick_gates
from rerank.importers import import_duo
from rerank.model import Model
from rerank.observe import AttentionCall
from rerank.passkeys import PasskeyMaker
from rerank.policies import DuoPolicy
from tests.rerank.conftest import FAMILIES, make_model

TEXT = "It was a bright cold day in April, and the clocks were striking thirteen. " * 20
TINY = GateSettings(
    steps=24, rate=0.1, sinks=2, recent=6, lengths=3, shortest=60, longest=120, passkeys=2, words=2
)


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerFast) -> Model:
    """A Llama with small weights whose heads of KV group 1 alone are listened to, and look at everything."""
    model = make_model("llama", tokenizer)
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if "q_proj" in name:
                weight.zero_()  # uniform attention
            if "o_proj" in name:
                weight[:, : weight.shape[1] // 2] = 0
    return model


def test_a_passkey_text_is_what_it_says(small: Model) -> None:
    filler = small.encode([TEXT])[0]
    maker = PasskeyMaker(small, filler, passkeys=3, words=4)
    text = maker.make(200, random.Random(1))
    said = str(small.tokenizer.decode(text.tokens))
    assert text == maker.make(200, random.Random(1))
    assert text != maker.make(200, random.Random(2))
    story, *asked = said.split("\n\nBased on the text above, what is the ")
    answers = []
    for ordinal, question in zip(("first", "second", "third"), asked, strict=True):
        words = question.removeprefix(f"{ordinal} passkey to the vault?\nPasskey: ")
        assert f"It is the {ordinal} passkey to the vault: {words}\n\n" in story
        assert len(words.split()) == 4
        answers.append(f" {words}")
    assert small.tokenizer.decode([text.tokens[place] for place in text.answers]) == "".join(answers)
    places = [story.index(f"the {ordinal} passkey") for ordinal in ("first", "second", "third")]
    assert places == sorted(places)
    # The context's end comes before the length asked for.
    assert len(maker.make(10**6, random.Random(1)).tokens) == small.shape.context
    with pytest.raises(ContextTooSmall, match="of the 2048 tokens that llama reads"):
        PasskeyMaker(small, filler, passkeys=10, words=100).make(50, random.Random(1))


def test_the_rate_goes_up_and_down() -> None:
    assert [ramp(step, 10) for step in range(10)] == [0.5, 1, 1, 1, 1, 1, 1, 1, 1, 0.5]
    assert ramp(0, 1) == 1
    assert ramp(0, 2000) == 1 / 400
    assert ramp(1999, 2000) == 1 / 400


def test_gates_fall_where_nothing_is_lost(model: Model) -> None:
    weights = {name: weight.clone() for name, weight in model.network.named_parameters()}
    told: list[tuple[int, int, float]] = []
    trained = train_gates(model, TEXT, TINY, progress=lambda *step: told.append(step))
    assert len(trained.losses) == TINY.steps
    assert trained.losses[0] == pytest.approx(0.05), "with every gate at 1 nothing differs"
    assert trained.losses[-1] < trained.losses[0] - 0.01
    gates = torch.tensor(trained.gates)
    assert gates.shape == (4, 2)
    assert bool(((gates >= 0) & (gates <= 1)).all())
    assert float(gates[:, 0].max()) < 0.1
    assert float(gates[:, 1].min()) > float(gates[:, 0].max()) + 0.3
    assert DuoPolicy.from_gates(trained.gates).retrieval == ((False, True),) * 4
    assert told[-1] == (24, 24, trained.losses[-1])
    # The model is as it was.
    assert all(torch.equal(weight, weights[name]) for name, weight in model.network.named_parameters())
    assert all(weight.requires_grad for weight in model.network.parameters())
    assert not model.network.training


def test_training_goes_on_where_it_stopped(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(TINY, steps=9)
    expected = train_gates(model, TEXT, settings)

    class Stopped(Exception):
        pass

    def stop(step: int, _of: int, _loss: float) -> None:
        if step == 5:
            raise Stopped

    with pytest.raises(Stopped):
        train_gates(model, TEXT, settings, folder=tmp_path, save_every=2, progress=stop)
    assert json.loads((tmp_path / "training.json").read_text())["step"] == 4
    steps: list[int] = []
    again = train_gates(
        model, TEXT, settings, folder=tmp_path, save_every=2, progress=lambda step, *_: steps.append(step)
    )
    assert steps == list(range(5, 10))
    assert again == expected, "to the last bit"
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["training-9.safetensors"]
    # Finished training is only read.
    monkeypatch.setattr(model.network, "forward", None)
    assert train_gates(model, TEXT, settings, folder=tmp_path) == expected


def test_other_settings_are_not_gone_on_with(model: Model, tmp_path: Path) -> None:
    short = replace(TINY, steps=1)
    train_gates(model, TEXT, short, folder=tmp_path)
    with pytest.raises(TrainingConflict, match=r"rate 0\.1, now it is 0\.2"):
        train_gates(model, TEXT, replace(short, rate=0.2), folder=tmp_path)
    with pytest.raises(TrainingConflict, match="text"):
        train_gates(model, f"{TEXT}!", short, folder=tmp_path)
    for damage in ("{", "[]", '{"identity": {}, "tensors": "none.safetensors"}'):
        (tmp_path / "training.json").write_text(damage)
        with pytest.raises(TrainingConflict, match="remove it to start over"):
            train_gates(model, TEXT, short, folder=tmp_path)


def test_long_texts_are_trained_with_less_memory_and_the_same_result(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(TINY, steps=4)
    expected = train_gates(model, TEXT, settings)
    monkeypatch.setattr("rerank.gates.LONG", 1)
    again = train_gates(model, TEXT, settings)
    torch.testing.assert_close(torch.tensor(again.gates), torch.tensor(expected.gates), atol=1e-4, rtol=0)


def test_without_memory_for_all_a_layer_is_computed_again(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(TINY, steps=4, lengths=1)
    expected = train_gates(model, TEXT, settings)
    layers = model.network.base_model.layers
    assert isinstance(layers, nn.ModuleList)
    ran: list[bool] = []

    class Full(GateMix):
        """A device without the memory for a whole layer more."""

        def attend(self, query: Tensor, key: Tensor, value: Tensor, call: AttentionCall) -> Tensor:
            if self.gates is not None and call.layer == 0:
                ran.append(isinstance(layers[0].forward, partial))
                if len(ran) == 1:
                    raise torch.OutOfMemoryError
            return super().attend(query, key, value, call)

    monkeypatch.setattr("rerank.gates.GateMix", Full)
    again = train_gates(model, TEXT, settings)
    torch.testing.assert_close(torch.tensor(again.gates), torch.tensor(expected.gates), atol=1e-4, rtol=0)
    # Tried in full once; from then on there, and once more on the way back.
    assert ran == [False] + [True, False] * 4


@pytest.mark.parametrize("family", ["gemma3", "phi", "mistral-sliding"])
def test_every_family_can_be_trained(family: str, tokenizer: PreTrainedTokenizerFast) -> None:
    trained = train_gates(make_model(family, tokenizer), TEXT, replace(TINY, steps=2))
    assert trained.losses[0] == pytest.approx(0.05, rel=1e-3)
    assert trained.losses[1] != trained.losses[0]


def test_without_training_a_head_is_known_by_its_positions(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("qwen2", tokenizer)
    with torch.no_grad():
        for name, weight in model.network.named_parameters():
            if ".q_proj" in name or ".k_proj" in name:
                weight.zero_()
                if name.endswith("bias"):
                    # The first KV group: q·k is largest where positions are equal, and falls slowly.
                    weight.view(-1, 8)[: len(weight) // 16, [2, 6]] = 20.0
    gates = torch.tensor(quick_gates(model, TEXT, sinks=4, recent=28, length=128))
    assert gates.shape == (4, 2)
    torch.testing.assert_close(gates[:, 1], torch.full((4,), 96 / 128))
    assert float(gates[:, 0].max()) < 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_is_scored_by_its_own_attention(family: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Of a token twice in a row, the first layer's second row looks back as the score says."""
    model = make_model(family, tokenizer)
    gates = quick_gates(model, "x", sinks=0, recent=1, length=2)
    seen: dict[int, torch.Tensor] = {}

    class Watcher:
        def see(self, layer: int, weights: torch.Tensor) -> None:
            seen[layer] = weights

    model.read(model.encode(["x"])[0] * 2, model.new_cache(2), Watcher())
    expected = seen[0][0, :, 1, 0].view(2, 3).mean(dim=1)
    torch.testing.assert_close(torch.tensor(gates[0]), expected)
    assert 0.001 < float(expected.min()) < 0.999


def test_a_model_without_known_rotation_is_refused(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("llama", tokenizer)
    monkeypatch.delattr("transformers.models.llama.modeling_llama.apply_rotary_pos_emb")
    with pytest.raises(ModelUnfit, match="positions of LlamaForCausalLM cannot be taken apart"):
        quick_gates(model, TEXT, sinks=4, recent=16)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _: GateSettings(steps=0), "0 steps"),
        (lambda _: GateSettings(shortest=9, longest=8), "from 9 to 8"),
        (lambda _: GateSettings(rate=0), "rate of 0"),
        (lambda _: GateSettings(recent=0), "0 recent"),
        (lambda model: train_gates(model, "", TINY), "a text that is not empty"),
        (lambda model: PasskeyMaker(model, [1], passkeys=11), "11 passkeys"),
        (lambda model: quick_gates(model, ""), "0 tokens"),
        (lambda model: quick_gates(model, TEXT, length=384), "length of 384"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    make: Callable[[Model], object], says: str, small: Model
) -> None:
    with pytest.raises(BadPolicy, match=says):
        make(small)


def test_gates_are_written_as_published(small: Model, tmp_path: Path) -> None:
    gates = [[0.0, 1.0], [0.25, 1e-9], [0.5, 0.75], [1.0, 0.125]]
    write_pattern(tmp_path / "new", gates, {"model_name": "tiny", "sink_size": 128, "recent_size": 256})
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "config.json",
        "full_attention_heads.tsv",
    ]
    profile = import_duo(tmp_path / "new", small)
    assert [list(row) for row in profile.gates or ()] == gates
    assert profile.provenance["gates.recent"] == 256


@pytest.mark.parametrize("name", ["loss.svg", "loss.png"])
def test_the_loss_is_drawn(name: str, tmp_path: Path) -> None:
    draw_losses([0.05, 0.04, 0.06], tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).stat().st_size > 1000
