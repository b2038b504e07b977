"""Nothing of it is fake: systems by a configuration, an index, a model, and a store that outlives them."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from indexes import Index, build_index
from service.app import create_app
from service.settings import Settings
from tests.service.arena.test_battles import vote
from tests.service.fakes import a_pipeline
from tests.service.running import WAIT, events_of

pytestmark = [pytest.mark.anyio, pytest.mark.model]

CONFIGURATION = """
[topics]
own = "topics.tsv"
[systems.first-stage]
index = "{index}"
method = "bm25"
rerank = false
generator = "quote"
[systems.attention]
index = "{index}"
method = "bm25"
top_k = 5
generator = "quote"
"""


@pytest.fixture(scope="module")
def demo_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """What `ragnarok demo` asks, with BM25 alone."""
    root = tmp_path_factory.mktemp("demo")
    with build_index("pydocs", "demo", root=root, corpus_format="pydocs", parts=("bm25",)) as index:
        yield index


@pytest.mark.parametrize(
    ("shelf", "question", "words"),
    [
        ("small_index", "Where is the tower?", "Paris"),
        ("demo_index", "How do I make a temporary directory?", "temporary"),
    ],
)
async def test_two_real_systems_meet(
    request: pytest.FixtureRequest, tmp_path: Path, shelf: str, question: str, words: str
) -> None:
    index: Index = request.getfixturevalue(shelf)
    (tmp_path / "topics.tsv").write_text(f"t1\t{question}\n")
    (tmp_path / "arena.toml").write_text(CONFIGURATION.format(index=index.folder))
    settings = Settings(arena=tmp_path / "arena.toml")
    app = create_app(settings, a_pipeline())
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=3 * WAIT) as client:
            started = (await client.post("/v1/arena/battles", json={"topics": "own"})).json()
            assert started["question"] == question
            name, data = events_of((await client.get(started["events"])).text)[-1]
            assert (name, data) == ("finished", {"id": started["id"]})
            blind = (await client.get(f"/v1/arena/battles/{started['id']}")).text
            assert words in blind
            assert "attention" not in blind.replace("the attention", "")
            over = (await vote(client, started, answer="b", evidence="a")).json()
            cookies = client.cookies
    assert {over[side]["system"]["name"] for side in "ab"} == {"first-stage", "attention"}
    assert over["a"]["system"]["components"]["generator"] == "quote"
    assert over["a"]["timings"].keys() == {"retrieve", "rerank", "answer"}
    secret = tmp_path / "arena.secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    # Another process, later: the battle is there, and whose vote it was is known.
    app = create_app(settings, a_pipeline())
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", cookies=cookies) as client:
            assert (await client.get(f"/v1/arena/battles/{started['id']}")).json() == over
            board = (await client.get("/v1/arena/leaderboard")).json()
            assert (board["votes"], board["rated"]) == (1, False)
