"""The arena's systems work with what the process has open for questions, and it outlives the arena."""

import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from indexes import Index, IndexNotFound
from ragnarok.arena.assembled import PipelineContender
from ragnarok.arena.contenders import output_of
from ragnarok.pipeline import Result
from ragnarok.rerankers import LateAttentionReranker
from rerank.model import Model
from rerank.profile import write_profile
from service.arena.arena import Arena
from service.desk import Desk
from service.limits import Rates
from service.parts import Parts
from service.settings import Settings
from tests.rerank.test_late import profile_of

pytestmark = pytest.mark.anyio

QUESTION = "Where is the tower?"

CONFIGURATION = """
[systems.first-stage]
index = "{index}"
model = "{model}"
rerank = false
[systems.late]
index = "{index}"
model = "{model}"
profile = "heads.json"
"""


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that weights have been loaded from since the test began."""
    heard: list[str] = []
    load = AutoModelForCausalLM.from_pretrained

    def counted(folder: str, **more: object) -> object:
        heard.append(folder)
        return load(folder, **more)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", counted)
    return heard


@pytest.fixture
def settings(tmp_path: Path, small_index: Index, saved: Path, small: Model) -> Settings:
    """A process of its own index and model, with an arena whose file calls both by other paths."""
    write_profile(profile_of(small), tmp_path / "heads.json")
    (tmp_path / "linked").symlink_to(saved.parent)
    (tmp_path / "shelf").symlink_to(small_index.folder.parent)
    arena = tmp_path / "arena.toml"
    arena.write_text(
        CONFIGURATION.format(index=f"./shelf/{small_index.folder.name}", model=f"linked/{saved.name}")
    )
    given = {"index": str(small_index.folder), "model": str(saved), "profile": tmp_path / "heads.json"}
    return Settings.model_validate({**given, "arena": arena})


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[tuple[Parts, Arena]]:
    """The parts of a process, and its arena, which the test opens."""
    desk, arena = Desk(settings), Arena(settings, Rates(None))
    await desk.open()
    try:
        yield desk.parts, arena
    finally:
        await arena.close()
        await desk.close()


def answered(parts: Parts) -> Result:
    """What the process answers to a question."""
    assert parts.pipeline is not None
    return parts.pipeline.ask(QUESTION)


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    """What is said while things are opened, whatever servers of other tests have made of the logger."""
    logger = logging.getLogger("uvicorn.error")
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    monkeypatch.setattr(logger, "propagate", False)
    caplog.set_level(logging.INFO, logger.name)
    return caplog


async def test_one_index_and_one_model_serve_both(
    settings: Settings, saved: Path, loads: list[str], heard: pytest.LogCaptureFixture
) -> None:
    async with opened(settings) as (parts, arena):
        before = answered(parts)
        await arena.open(parts)
        systems = arena.now.hall.roster.contenders
        late = systems["late"]
        assert isinstance(late, PipelineContender)
        assert isinstance(late.pipeline.reranker, LateAttentionReranker)
        assert late.pipeline.reranker is not parts.reranker
        *_, result = late.stream(QUESTION)
        assert isinstance(result, Result)
        assert output_of(late.system, result).hits[0].docid == "tower"
        await arena.close()
        assert loads == [str(saved)]
        assert [line for line in heard.messages if line.startswith(("opening", "loading"))] == [
            f"opening {settings.index}",
            f"loading model {saved}",
        ]
        after = answered(parts)
    assert after.answer == before.answer
    assert [hit.docid for hit in after.hits] == [hit.docid for hit in before.hits]


async def test_another_model_is_the_arenas_own(
    settings: Settings, tmp_path: Path, saved: Path, loads: list[str]
) -> None:
    other = shutil.copytree(saved, tmp_path / "other")
    async with opened(settings.model_copy(update={"model": str(other)})) as (parts, arena):
        await arena.open(parts)
        assert loads == [str(other), str(tmp_path / "linked" / saved.name)]


async def test_an_arena_that_fails_to_open_leaves_the_process_whole(settings: Settings) -> None:
    assert settings.arena is not None
    with settings.arena.open("a") as file:
        file.write('[systems.broken]\nindex = "./none"\n')
    async with opened(settings) as (parts, arena):
        before = answered(parts)
        with pytest.raises(IndexNotFound, match=r"no index './none'"):
            await arena.open(parts)
        assert answered(parts).answer == before.answer
