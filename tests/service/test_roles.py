"""What each kind of process opens, and that it is warm and closed."""

import subprocess
import sys
from asyncio import AbstractEventLoop
from pathlib import Path

import pytest

from indexes import build_index
from ragnarok.rerankers import LateAttentionReranker
from rerank.model import Model
from rerank.profile import write_profile
from service.desk import Desk
from service.parts import build_parts
from service.settings import Settings
from tests.rerank.test_late import profile_of
from tests.service.running import client_of


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small: Model) -> Path:
    """A home with the indexes `demo` and `other`, and a head profile."""
    monkeypatch.setenv("RAGNAROK_HOME", str(tmp_path))
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "The tower is in Paris, by the river."}\n')
    for name in ("demo", "other"):
        build_index(tmp_path / "corpus.jsonl", name, parts=["bm25"]).close()
    write_profile(profile_of(small), tmp_path / "heads.json")
    return tmp_path


def settings(home: Path, saved: Path, **more: object) -> Settings:
    """Settings of a small model."""
    given = {"model": str(saved), "profile": home / "heads.json", **more}
    return Settings.model_validate(given)


@pytest.mark.parametrize("role", ["all", "retrieval", "rerank", "generation"])
def test_a_process_opens_what_it_does(home: Path, saved: Path, loop: AbstractEventLoop, role: str) -> None:
    said: list[str] = []
    parts = build_parts(settings(home, saved, serve=role, indexes="demo,other"), loop, said.append)
    try:
        assert (parts.library is not None) == (parts.retriever is not None) == (role in {"all", "retrieval"})
        assert (parts.reranker is not None) == (role in {"all", "rerank"})
        assert (parts.generator is not None) == (role in {"all", "generation"})
        assert list(parts.modes) == (["late", "joint"] if parts.reranker else [])
        assert (parts.pipeline is not None) == (role == "all")
        for stage in ("retrieval", "rerank", "generation"):
            assert (parts.identity(stage) is not None) == (role in {"all", stage})
        assert (f"loading model {saved}" in said) == (role != "retrieval")
        if isinstance(parts.reranker, LateAttentionReranker):
            assert parts.reranker.reader.stats()["memory"].entries, "two passages have been re-ranked"
        if parts.library is not None:
            assert list(parts.library.indexes) == ["demo", "other"]
    finally:
        parts.close()


def test_what_has_an_address_is_done_there(home: Path, saved: Path, loop: AbstractEventLoop) -> None:
    chosen = settings(home, saved, rerank_url="http://localhost:9", generation_url="http://localhost:9")
    said: list[str] = []
    parts = build_parts(chosen, loop, said.append)
    assert parts.pipeline is not None
    assert said == ["opening demo"]
    parts.close()


def test_an_endpoint_that_answers_needs_no_model(home: Path, loop: AbstractEventLoop) -> None:
    more = {"generator": "openai", "openai_base_url": "http://localhost:9/v1", "openai_model": "m"}
    said: list[str] = []
    parts = build_parts(settings(home, home / "none", serve="generation", **more), loop, said.append)
    assert said == []
    parts.close()


@pytest.mark.anyio
async def test_a_whole_process_searches_ranks_and_answers(home: Path, saved: Path) -> None:
    chosen = settings(home, saved, indexes="demo,other")
    desk = Desk(chosen)
    await desk.open()
    async with client_of(desk.parts, chosen) as client:
        found = (await client.get("/v1/other/search?query=river")).json()["candidates"]
        documents = [candidate["doc"]["contents"] for candidate in found]
        ranked = (await client.post("/v1/rerank", json={"query": "river", "documents": documents})).json()
        body = {"query": "river", "candidates": found}
        answer = (await client.post("/v1/generate", json=body)).json()
        whole = (await client.post("/v1/query", json={"query": "river"})).json()
    await desk.close()
    assert ranked["model"] == saved.name
    assert [result["index"] for result in ranked["results"]] == [0]
    assert answer["answer"]["references"] == whole["answer"]["references"] == ["a"]


@pytest.mark.parametrize("role", ["gateway", "retrieval"])
def test_who_runs_no_model_loads_no_torch(role: str) -> None:
    urls = "http://localhost:9" if role == "gateway" else None
    code = (
        "import sys; from service.app import create_app; from service.settings import Settings;"
        f"u = {urls!r}; settings = Settings(serve={role!r}, retrieval_url=u, rerank_url=u, generation_url=u);"
        "create_app(settings);"
        "sys.exit(bool({'torch', 'transformers', 'faiss'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
