"""The page's files and the headers they go out with."""

import re

import pytest

from service.site import PAGES, TYPES
from tests.service.running import client_of

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("name", sorted(path.name for path in PAGES.iterdir()))
async def test_every_file_goes_out_with_its_type_and_the_policy(name: str) -> None:
    path = "/" if name == "index.html" else f"/assets/{name}"
    async with client_of() as client:
        response = await client.get(path)
        again = await client.get(path, headers={"If-None-Match": response.headers["etag"]})
        head = await client.head(path)
    assert response.status_code == head.status_code == 200
    assert response.content == (PAGES / name).read_bytes()
    assert response.headers["content-type"] == TYPES[PAGES.joinpath(name).suffix]
    assert (again.status_code, again.content) == (304, b"")
    for said in (response, again, head):
        assert said.headers["cache-control"] == "no-cache"
        assert said.headers["x-content-type-options"] == "nosniff"
        assert said.headers["referrer-policy"] == "no-referrer"
        policy = said.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    page = (PAGES / "index.html").read_text()
    assert re.findall(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", page) == []
    for path in PAGES.iterdir():
        addresses = re.findall(r"""https?://\w[\w.-]*|["'(]//\w[\w.-]*""", path.read_text())
        assert {address for address in addresses if "www.w3.org" not in address} == set(), path.name
    scripts = "".join(path.read_text() for path in PAGES.glob("*.js"))
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", scripts
    )
