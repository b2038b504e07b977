"""Before the vote nothing says who is who: every byte that a browser is sent is looked through."""

import json
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from ragnarok.arena.store import ArenaStore
from ragnarok.arena.systems import open_roster
from ragnarok.arena.types import System
from ragnarok.types import Sentence
from service.app import create_app
from service.arena.arena import ArenaParts
from tests.ragnarok.arena.test_systems import answer_line
from tests.service.arena.conftest import There
from tests.service.arena.fakes import SECRET, Actor, quick
from tests.service.fakes import PASSAGES, SENTENCES, a_pipeline
from tests.service.running import served

pytestmark = pytest.mark.browser

TIMES = ("0.123456", "0.234567", "0.345678", "0.704")

SIGNS = ("far.example", "far.example:9000", "gateway", "lab-run7", "local", "test")
SAID = "Run lab-run7 at far.example:9000 behind http://gateway/v1: generator: local, run_id=test."
MASKED = (
    "Run [name hidden] at [name hidden] behind http://[name hidden]/v1: generator: [name hidden], "
    "run_id=[name hidden]."
)
TELLING = ("lab-run7", "far.example", "//gateway", "generator: local", "run_id=test")


def secrets_of(system: System) -> set[str]:
    """What would tell who a system is."""
    return {system.name, system.digest, *system.components.values()}


class Wire:
    """Everything that goes between a browser and the service, as text by address."""

    def __init__(self, page: Page) -> None:
        """Stand between them."""
        self.said: list[tuple[str, str]] = []
        page.context.route("**", self._pass)

    def _pass(self, route: Route) -> None:
        answer = route.fetch()
        asked = route.request
        headers = json.dumps([answer.headers_array, asked.headers_array()])
        text = "\n".join([unquote(asked.url), headers, asked.post_data or "", answer.text()])
        self.said.append((urlsplit(asked.url).path, text))
        route.fulfill(response=answer)


def test_no_byte_tells_who_is_who_before_the_vote(page: Page, there: There) -> None:
    # Both say who they are, and who the other is, by name and otherwise.
    named = Sentence("I am SYSTEM-LEFT, system-right is worse", (1,)), Sentence(SAID), *SENTENCES
    actors = Actor("left", sentences=named), Actor("right", sentences=named, whole=True)
    wire = Wire(page)
    page.goto(f"{there(*actors, signs=SIGNS)}/battle")
    expect(page.get_by_label("Your question")).to_be_focused()
    page.get_by_label("Your question").fill("How do I sort?")
    page.get_by_role("button", name="Begin").click()
    expect(page.locator("#vote")).to_be_visible()
    page.reload()
    expect(page.locator("#vote")).to_be_visible()
    battle = page.url.rpartition("/")[2]
    # And what a curious voter would ask for beside.
    for path in (f"/v1/arena/battles/{battle}", f"/v1/arena/battles/{battle}/events", "/metrics"):
        page.evaluate("path => fetch(path).then(response => response.text())", path)
    for path in ("/v1/arena/battles.jsonl", "/v1/arena/battles.csv"):
        page.evaluate("path => fetch(path).then(response => response.text())", path)
    page.wait_for_load_state("networkidle")
    said = wire.said.copy()
    kept = page.evaluate("JSON.stringify([sessionStorage, localStorage, history.state, window.name])")
    cookies = json.dumps([dict(cookie) for cookie in page.context.cookies()])
    said.append(("page", "\n".join([page.content(), page.url, page.title(), kept, cookies])))
    battles = "/v1/arena/battles"
    seen = {path for path, _ in said}
    assert {
        "/battle",
        f"/battle/{battle}",
        battles,
        f"{battles}/{battle}",
        f"{battles}/{battle}/events",
    } <= seen
    hidden = set(TIMES) | {
        "SYSTEM-LEFT",
        *TELLING,
        "note-of-the-generator",
        '"first_rank"',
        '"highlights"',
        "server-timing",
        "x-cache",
    }
    hidden |= {passage.docid for passage in PASSAGES}
    for one in actors:
        hidden |= secrets_of(one.system)
    for path, text in said:
        if path.startswith(f"{battles}."):
            # Downloads list the systems that there are, which is no secret, and nothing of this battle.
            assert battle not in text
        else:
            assert {secret for secret in hidden if secret in text} == set(), path
    told = page.locator("main").get_by_text("I am [name hidden], [name hidden] is worse")
    expect(told).to_have_count(2)
    expect(page.locator("main").get_by_text(MASKED)).to_have_count(2)
    # It would have been found: after the vote it is all there.
    page.keyboard.press("1")
    page.keyboard.press("Enter")
    expect(page.locator("#told")).to_be_visible()
    expect(page.get_by_text("I am SYSTEM-LEFT, system-right is worse")).to_have_count(2)
    expect(page.get_by_text(SAID)).to_have_count(2)
    expect(told).to_have_count(0)
    path, after = wire.said[-1]
    assert path == f"{battles}/{battle}/vote"
    assert {
        secret for secret in hidden - {"server-timing", "x-cache", "0.704"} if secret not in after
    } == set()


def test_an_answer_file_does_not_tell_its_run(page: Page, tmp_path: Path) -> None:
    (tmp_path / "topics.tsv").write_text("q1\twhat are bananas?\n")
    for name in ("left", "right"):
        line = answer_line("q1", run=f"{name}-run7").replace("The answer", f"Of {name}-run7, the answer")
        (tmp_path / f"{name}.jsonl").write_text(line)
    file = tmp_path / "arena.toml"
    file.write_text(
        'topics = {set = "topics.tsv"}\n'
        'systems.one = {answers = "left.jsonl", topics = "set"}\n'
        'systems.two = {answers = "right.jsonl", topics = "set"}\n'
    )
    with (
        closing(open_roster(file)) as roster,
        closing(ArenaStore(str(tmp_path / "arena.db"))) as store,
        served(create_app(quick(), a_pipeline(), ArenaParts(roster, store, SECRET))) as address,
    ):
        wire = Wire(page)
        page.goto(f"{address}/battle")
        page.get_by_label("Question from").select_option("set")
        page.get_by_role("button", name="Begin with the next question").click()
        expect(page.locator("#vote")).to_be_visible()
        expect(page.get_by_text("Of [name hidden], the answer to q1.")).to_have_count(2)
        page.wait_for_load_state("networkidle")
        assert [path for path, text in [*wire.said, ("page", page.content())] if "-run7" in text] == []
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        for name in ("left", "right"):
            expect(page.get_by_text(f"Of {name}-run7, the answer to q1.")).to_be_visible()
