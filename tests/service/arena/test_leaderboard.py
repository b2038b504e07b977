"""The leaderboard, its filters and pictures, and the downloads."""

import asyncio
import csv
import io
import json
import re
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from ragnarok.arena.files import import_jsonl
from ragnarok.arena.simulate import Scenario, simulate
from ragnarok.arena.staged import staged
from ragnarok.arena.store import ArenaStore
from ragnarok.arena.types import Battle, Outcome, Output, System, Verdicts, Vote
from ragnarok.types import Answer, Sentence
from service.arena.downloads import AT_ONCE
from tests.service.arena.conftest import Here, There
from tests.service.arena.test_battles import begin, vote
from tests.service.running import WAIT

pytestmark = pytest.mark.anyio

DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)

Row = tuple[str, str, Outcome]

XY: Row = ("x", "y", "a")


def fill(place: Path, rows: Iterable[Row], *, topics: str | None = None, model: bool = False) -> None:
    """Keep one battle a row, one a day: left, right, and what was said of the answers."""
    store = ArenaStore(str(place))
    number = store.counts().battles
    for day, (left, right, outcome) in enumerate(rows):
        systems = System(left), System(right)
        created = DAY + timedelta(days=day)
        a, b = (Output(one.name, one.digest, Answer("q")) for one in systems)
        battle = Battle(f"battle-{number + day}", created, "q", day, a, b, topics)
        said = Vote(battle.battle_id, f"voter-{day % 2}", "model" if model else "human", created, outcome)
        store.add_all([*systems, battle, said])
    store.close()


def cells(page: str) -> list[list[str]]:
    """The table's rows."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, flags=re.DOTALL)[1:]
    texts = (re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in rows)
    return [[re.sub(r"<[^>]+>", "", text).strip() for text in row] for row in texts]


async def board(client: httpx.AsyncClient, address: str = "") -> str:
    """The page."""
    response = await client.get(f"/leaderboard{address}")
    assert response.status_code == 200
    return response.text


def judge(place: Path, *said: Outcome, orders: Verdicts | None = None) -> None:
    """Have a model vote on the first battles of `fill`; `orders` are its verdicts each time."""
    store = ArenaStore(str(place))
    for day, outcome in enumerate(said):
        vote = Vote(f"battle-{day}", "model <1>", "model", DAY, outcome, answer_orders=orders)
        store.add_vote(vote)
    store.close()


async def test_it_says_how_well_models_agree_with_people(here: Here, store_path: Path) -> None:
    fill(store_path, [("x", "y", "a"), ("x", "y", "a"), ("y", "x", "b"), ("y", "x", "tie"), XY])
    async with here() as client:
        assert "Cohen" not in await board(client)
    # They agree on 3 of 4, by chance they would on (2·2 + 1·2 + 1·0) / 16: κ = (.75 − .375) / .625.
    judge(store_path, "a", "a", "b", "b")
    async with here() as client:
        assert "the same of 75 % of the 4 battles that both voted on: Cohen's κ 0.60" in await board(client)
        assert "Cohen" not in await board(client, "?board=evidence")


async def test_it_says_how_often_a_model_agrees_with_itself(here: Here, store_path: Path) -> None:
    fill(store_path, [XY] * 4)
    judge(store_path, "a", "a", "a", orders=("a", "b"))
    store = ArenaStore(str(store_path))
    store.add_vote(Vote("battle-3", "model <1>", "model", DAY, "tie", answer_orders=("a", "a")))
    store.close()
    async with here() as client:
        page = await board(client)
        record = (await client.get("/v1/arena/leaderboard")).json()
        other = (await client.get("/v1/arena/leaderboard?board=evidence")).json()
        lines = (await client.get("/v1/arena/battles.jsonl")).text.splitlines()
        rows = list(csv.DictReader(io.StringIO((await client.get("/v1/arena/battles.csv")).text)))
    # Wilson's interval of 3 of 4.
    told = "75 % of the 4 battles that it judged in both orders (30 to 95 %)"
    assert f"model &lt;1&gt; says the same when the sides change on {told}" in page
    one = record["consistency"]["model <1>"]
    assert (one["pairs"], one["consistent"], one["left"]) == (4, 0.75, 0.25)
    assert (record["agreement"]["battles"], record["agreement"]["agreeing"]) == (4, 0.75)
    assert (other["agreement"], other["consistency"]) == (None, {})
    said = [vote["answer_orders"] for line in lines if (vote := json.loads(line).get("vote"))]
    assert said == [None] * 4 + [["a", "b"]] * 3 + [["a", "a"]]
    assert [row["answer_consistent"] for row in rows] == [""] * 4 + ["yes"] * 3 + ["no"]


async def test_without_votes_it_says_so(here: Here) -> None:
    async with here() as client:
        page = await board(client)
        assert "No vote has been cast here yet" in page
        assert (await client.get("/leaderboard/ratings.svg")).status_code != 500
        assert re.findall(r"<script[^>]* src=", page) == []


async def test_ratings_by_hand(here: Here, store_path: Path) -> None:
    fill(store_path, [*[XY] * 3, ("y", "x", "a")])
    async with here() as client:
        page = await board(client)
        record = (await client.get("/v1/arena/leaderboard")).json()
        svg = await client.get("/leaderboard/ratings.svg")
        wins = await client.get("/leaderboard/wins.svg")
    x, y = cells(page)
    # Odds of 3 to 1 are 400·log10(3) = 190.8 points around 1000.
    assert (x[1], x[2], y[1], y[2]) == ("x", "1095", "y", "905")
    assert (x[4:8], x[8]) == (["4", "3", "1", "0"], "75 %")
    assert record["standings"][0]["rating"] == pytest.approx(1000 + 190.85 / 2, abs=0.01)
    for picture in (svg, wins):
        assert picture.status_code == 200
        assert picture.headers["content-type"] == "image/svg+xml"
        assert "<svg" in picture.text
    assert "Without a vote: system-left, system-right." in page


async def test_what_is_not_connected_has_no_rating(here: Here, store_path: Path) -> None:
    fill(store_path, [("x", "y", "a"), ("y", "x", "a"), ("v", "w", "tie")])
    async with here() as client:
        page = await board(client)
        assert (await client.get("/leaderboard/wins.svg")).status_code == 200
        assert (await client.get("/leaderboard/ratings.svg")).status_code in {404, 409, 422}
    assert "Not rated" in page
    assert "Rating</th>" not in page
    assert {row[0] for row in cells(page)} == {"–"}


async def test_filters(here: Here, store_path: Path) -> None:
    both: list[Row] = [("x", "y", "a"), ("x", "y", "b")]
    fill(store_path, both)
    fill(store_path, both * 2, topics="set <1>")
    fill(store_path, both * 3, model=True)

    async with here() as client:

        async def votes(query: str) -> int:
            return int((await client.get(f"/v1/arena/leaderboard?{query}")).json()["votes"])

        assert await votes("") == 12
        assert await votes("board=evidence") == 0
        assert await votes("voters=human") == 6
        assert await votes("voters=model&since=&until=&topics=") == 6
        assert await votes("topics=set+%3C1%3E") == 4
        assert await votes("topics=-") == 8
        assert await votes("since=2026-03-02") == 9
        assert await votes("until=2026-03-01") == 3
        assert await votes("since=2026-03-02&until=2026-03-02&voters=human") == 2
        page = await board(
            client, "?topics=set+%3C1%3E&since=2026-03-01&voters=human&trusted=true&style=true"
        )
        assert '<option value="set &lt;1&gt;" selected>set &lt;1&gt;</option>' in page
        assert 'value="2026-03-01"' in page
        assert page.count(" checked") == 2
        # The calendar's ends, and no numbers that could be read as days.
        assert await votes("since=0001-01-01&until=9999-12-31") == 12
        for slip in ("since=0", "until=1772409600", "until=2026-03-02T00:00:00", "since=2026-02-30"):
            assert (await client.get(f"/v1/arena/leaderboard?{slip}")).status_code == 422
        for wrong in ("since=never", "board=other", "topics=none", "strange=1", "voters=<b>"):
            refused = await client.get(f"/leaderboard?{wrong}")
            assert refused.status_code == 422
            assert "The filters cannot be used" in refused.text
            assert "<b>" not in refused.text.replace("<b>1", "")


async def test_one_component_is_rated_by_battles_that_differ_in_it_alone(
    here: Here, store_path: Path
) -> None:
    systems = {
        "plain": {"index": "i", "reranker": "none"},
        "late": {"index": "i", "reranker": "<late>"},
        "far": {"index": "j", "reranker": "<late>", "generator": "other"},
    }
    scenario = Scenario({"plain": 900.0, "late": 1000.0, "far": 1100.0}, votes=300, components=systems)
    store = ArenaStore(str(store_path))
    store.add_all(staged(simulate(scenario)))
    store.close()
    async with here() as client:
        whole = await board(client)
        page = await board(client, "?component=reranker")
        record = (await client.get("/v1/arena/leaderboard?component=reranker")).json()
        svg = await client.get("/leaderboard/ratings.svg?component=reranker")
        for wrong in ("index", "%3Cb%3E"):
            refused = await client.get(f"/leaderboard?component={wrong}")
            assert refused.status_code == 422
            assert "alone; choose one of the list" in refused.text
            assert (await client.get(f"/v1/arena/leaderboard?component={wrong}")).status_code == 404
    assert re.findall(r"<option[^>]*>(\w+)</option>", whole.split('id="component"')[1])[:2] == [
        "systems",
        "reranker",
    ]
    assert [row[1] for row in cells(page)] == ["&lt;late&gt;", "none"]
    assert '<option value="reranker" selected>' in page
    assert "differ in the reranker and in nothing else" in page
    assert {one["system"] for one in record["standings"]} == {"<late>", "none"}
    assert 0 < record["votes"] < 300
    assert svg.status_code == 200


async def test_suspicious_voters_are_left_out_when_asked(here: Here, store_path: Path) -> None:
    scenario = Scenario({"x": 1100.0, "y": 900.0}, votes=600, voters={"honest": 8, "left": 1})
    store = ArenaStore(str(store_path))
    store.add_all(staged(simulate(scenario)))
    store.close()
    async with here() as client:
        page = await board(client)
        assert "1 of the voters is suspicious." in page
        trusted = await board(client, "?trusted=true")
        assert "1 of the voters is suspicious, and left out." in trusted
        every = (await client.get("/v1/arena/leaderboard")).json()
        some = (await client.get("/v1/arena/leaderboard?trusted=true")).json()
    assert 500 < some["votes"] < every["votes"] == 600


async def test_a_new_vote_is_on_the_board_at_once(here: Here) -> None:
    async with here() as client:
        for number in range(1, 4):
            battle = await begin(client)
            assert (await vote(client, battle, answer="tie")).status_code == 200
            assert f"{number} votes" in await board(client)


async def test_downloads_hold_back_what_waits(here: Here, store_path: Path, tmp_path: Path) -> None:
    fill(store_path, [("=x", "y", "a"), ("y", "=x", "b")])
    async with here() as client:
        waits, voted = await begin(client), await begin(client)
        await vote(client, voted, answer="a", tags=["clearer"])
        jsonl = await client.get("/v1/arena/battles.jsonl")
        table = await client.get("/v1/arena/battles.csv")
    assert 'filename="battles.jsonl"' in jsonl.headers["content-disposition"]
    assert waits["id"] not in jsonl.text + table.text
    assert [json.loads(line) for line in jsonl.text.splitlines()]
    (tmp_path / "copy.jsonl").write_text(jsonl.text)
    copy = ArenaStore(str(tmp_path / "copy.sqlite"))
    counts = import_jsonl(copy, tmp_path / "copy.jsonl")
    copy.close()
    assert (counts.battles, counts.votes) == (3, 3)
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [row["battle_id"] for row in rows] == ["battle-0", "battle-1", voted["id"]]
    assert rows[0]["system_a"] == "'=x"


async def test_downloads_that_nobody_reads_do_not_stop_the_arena(there: There, store_path: Path) -> None:
    fill(store_path, [*[XY] * 3, ("y", "x", "a")])
    store = ArenaStore(str(store_path))
    # More than connections hold.
    long = Answer("q", (Sentence("long " * 4_000_000),))
    a, b = (Output(one.name, one.digest, long) for one in (System("x"), System("y")))
    store.add_all([Battle("long", DAY, "q", 0, a, b), Vote("long", "v", "human", DAY, "a")])
    store.close()
    async with httpx.AsyncClient(base_url=there(), timeout=WAIT) as client:
        path = "/v1/arena/battles.jsonl"
        async with AsyncExitStack() as stack:
            for _ in range(AT_ONCE):
                waiting = await stack.enter_async_context(client.stream("GET", path))
                assert waiting.status_code == 200
            refused = await client.get(path)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "10")
            assert (await client.get("/leaderboard")).status_code == 200
            assert (await vote(client, await begin(client))).status_code == 200
        for _ in range(100):
            # Who has left is noticed soon.
            async with client.stream("GET", path) as again:
                if again.status_code == 200:
                    break
            await asyncio.sleep(0.05)
        assert again.status_code == 200
