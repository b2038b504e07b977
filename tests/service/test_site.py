"""The page's files and the headers they go out with."""

import base64
import json
import re
from hashlib import sha256

import pytest

from service.site import ASSETS, INLINE, SCRIPTS, SHEETS, STYLES, TEMPLATES, TYPES, Site, modules_of
from tests.service.running import client_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", ["", *sorted(path.name for path in ASSETS.iterdir())])
async def test_every_file_goes_out_with_its_type_and_the_policy(name: str) -> None:
    path = f"/assets/{name}" if name else "/"
    async with client_of() as client:
        response = await client.get(path)
        again = await client.get(path, headers={"If-None-Match": response.headers["etag"]})
        head = await client.head(path)
    assert response.status_code == head.status_code == 200
    if name:
        assert response.content == (ASSETS / name).read_bytes()
    assert response.headers["content-type"] == TYPES[ASSETS.joinpath(name or "x.html").suffix]
    assert (again.status_code, again.content) == (304, b"")
    for said in (response, again, head):
        assert said.headers["cache-control"] == "no-cache"
        assert said.headers["x-content-type-options"] == "nosniff"
        assert said.headers["referrer-policy"] == "no-referrer"
        policy = said.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self' 'sha256-")
        assert "unsafe" not in policy


async def test_without_an_arena_only_the_page_to_ask_from_is_there() -> None:
    async with client_of() as client:
        page = (await client.get("/")).text
        for path in (
            "/battle",
            "/leaderboard",
            "/compare",
            "/v1/arena/leaderboard",
            "/assets/../templates/ask.html",
        ):
            assert (await client.get(path)).status_code == 404
    assert re.findall(r'<li><a href="([^"]+)"', page) == ["/"]


async def test_the_styles_of_a_page_stand_in_it_and_its_policy_knows_them_alone() -> None:
    async with client_of() as client:
        response = await client.get("/")
    found = re.findall(r"<style>(.*?)</style>", response.text, re.DOTALL)
    assert found == [SHEETS[name] for name in ("base.css", "outcome.css", "ask.css")]
    assert 'rel="stylesheet"' not in response.text
    [allowed] = re.findall(r"style-src ([^;]*)", response.headers["content-security-policy"])
    digests = {base64.b64encode(sha256(text.encode()).digest()).decode() for text in found}
    assert {f"'sha256-{digest}'" for digest in digests} <= set(allowed.split())
    assert len(allowed.split()) == len(SHEETS)


async def test_the_one_script_in_a_page_is_known_to_its_policy_and_holds_the_others_back() -> None:
    async with client_of() as client:
        response = await client.get("/")
    assert re.findall(r"<script>(.*?)</script>", response.text, re.DOTALL) == [SCRIPTS["later.js"]]
    [allowed] = re.findall(r"script-src ([^;]*)", response.headers["content-security-policy"])
    digests = [base64.b64encode(sha256(text.encode()).digest()).decode() for text in SCRIPTS.values()]
    assert allowed.split() == ["'self'", *(f"'sha256-{digest}'" for digest in digests)]
    now = re.sub(r"<template.*?</template>", "", response.text, flags=re.DOTALL)
    assert re.findall(r"<script[^>]* src=|modulepreload", now) == []


async def test_a_page_says_which_links_a_browser_with_scripts_may_follow_before_a_click() -> None:
    async with client_of() as client:
        page = (await client.get("/")).text
    waiting = "".join(re.findall(r"<template>(.*?)</template>", page, re.DOTALL))
    [rules] = re.findall(r'<script type="speculationrules">(.*?)</script>', page, re.DOTALL)
    assert rules in waiting
    assert rules == SCRIPTS["prerender.json"]
    [rule] = json.loads(rules)["prerender"]
    assert rule["eagerness"] == "moderate"
    # Pages alone: whatever asks, counts, or is taken away is elsewhere.
    assert rule["where"] == {"href_matches": ["/", "/battle", "/battle/*", "/leaderboard", "/compare"]}


def test_templates_hold_no_script_and_no_style_and_nothing_comes_from_elsewhere() -> None:
    for path in TEMPLATES.iterdir():
        text = path.read_text().replace("<style>{% include name %}</style>", "")
        text = re.sub(
            r'<script( type="speculationrules")?>{% include "[a-z]+\.js(on)?" %}</script>', "", text
        )
        assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", text) == [], path.name
        # Jinja escapes what it is given, unless it is told not to.
        assert re.findall(r"\|\s*safe\b|autoescape|Markup", path.read_text()) == [], path.name
    for path in (*ASSETS.iterdir(), *INLINE.iterdir(), *STYLES.iterdir(), *TEMPLATES.iterdir()):
        addresses = re.findall(r"""https?://\w[\w.-]*|["'(]//\w[\w.-]*""", path.read_text())
        assert {address for address in addresses if "www.w3.org" not in address} == set(), path.name
    scripts = "".join(path.read_text() for path in (*ASSETS.glob("*.js"), *INLINE.iterdir()))
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", scripts
    )


def test_a_page_names_every_module_that_it_loads() -> None:
    assert modules_of("ask.js") == ["dom.js", "events.js", "evidence.js", "key.js", "opened.js", "outcome.js"]
    page = Site().page("ask", "/").decode()
    assert re.findall(r'modulepreload" href="/assets/([\w.]+)"', page) == modules_of("ask.js")
