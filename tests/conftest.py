"""What the rooms' tests share: a tiny random model, its tokenizer, and a folder of it as on a disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerFast

    from rerank.model import Model

# A slow machine is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# Imported where they are used: torch takes seconds, and many tests need none of it.


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer."""
    from tests.rerank.conftest import make_tokenizer

    return make_tokenizer()


@pytest.fixture(scope="session")
def small(tokenizer: PreTrainedTokenizerFast) -> Model:
    """A tiny Llama in fp32."""
    from tests.rerank.conftest import make_model

    return make_model("llama", tokenizer)


@pytest.fixture(scope="session")
def saved(tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Llama as a folder of safetensors. Tests that break it work on a copy."""
    from tests.rerank.conftest import make_model

    folder = tmp_path_factory.mktemp("saved") / "tiny"
    make_model("llama", tokenizer).network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
