"""What the rooms' tests share: a tiny random model, its tokenizer, and a folder of it as on a disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from rerank.model import Model

# As the service sets it, here for the commands that tests start too. Processes share the cores: a thread that
# spins while it waits for another keeps it from its core, and small models take many times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ROOT = Path(__file__).resolve().parents[1]
LONGEST = (
    "docs/test_docs.py",
    "docker/test_containers.py",
    "ragnarok/test_commands.py",
    "service/test_contract.py",
    "rerank/test_model.py",
    "ragnarok/test_cli.py",
    "indexes/test_build.py",
    "rerank/test_policies.py",
    "rerank/test_late.py",
    "service/arena/test_accessible.py",
    "service/arena/test_real.py",
    "service/test_page.py",
    "indexes/test_corpora.py",
    "rerank/test_gates.py",
    "rerank/test_store.py",
    "service/arena/test_arena_pages.py",
)
"""Files that take longest, or have one long test; they begin first, so that all workers end together."""

# A slow machine is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; within a file, and between the others, the order stays."""
    turns = {ROOT / "tests" / name: turn for turn, name in enumerate(LONGEST)}
    items.sort(key=lambda item: turns.get(item.path, len(turns)))


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
