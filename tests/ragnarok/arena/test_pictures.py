"""Pictures: well-formed, the same each time, in words too, without inline styles, readable light and dark."""

import re
import shutil
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import sync_playwright

from ragnarok.arena.boards import Leaderboard, leaderboard
from ragnarok.arena.filters import Filters
from ragnarok.arena.pictures import (
    INK,
    MIDDLE,
    STRONG,
    WEAK,
    rating_plot,
    rating_size,
    win_matrix,
    win_size,
)
from ragnarok.arena.simulate import Scenario, simulate
from ragnarok.errors import Unratable

Draw = Callable[..., str]

NASTY = "<script>alert(1)</script> & $x^2$"
NAMES = {"bm25+late": 1100.0, NASTY: 1000.0, "a-very-long-name-of-a-system-that-goes-on-and-on": 900.0}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def board() -> Leaderboard:
    return leaderboard(simulate(Scenario(NAMES, 900), seed=1))


@pytest.mark.parametrize("draw", [rating_plot, win_matrix])
@pytest.mark.parametrize("inline", [False, True])
def test_form(board: Leaderboard, draw: Draw, inline: bool) -> None:
    drawn = draw(board, inline=inline)
    assert drawn == draw(board, inline=inline)
    root = ET.XML(drawn)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    names = [one.get("id") for one in root.iter() if one.get("id")]
    assert len(names) == len(set(names))
    used = {found for pair in re.findall(r'href="#([^"]+)|url\(#([^)]+)', drawn) for found in pair if found}
    assert used == set(names)
    assert not any("style" in one.attrib for one in root.iter())
    assert len(root.findall(f"{SVG}style")) == (0 if inline else 1)
    assert drawn.startswith("<svg" if inline else "<?xml")
    assert INK not in drawn
    assert "currentColor" in drawn
    assert "script" not in {one.tag.removeprefix(SVG) for one in root.iter()}
    assert "<!--" not in drawn


@pytest.mark.parametrize(("draw", "size"), [(rating_plot, rating_size), (win_matrix, win_size)])
def test_size(board: Leaderboard, draw: Draw, size: Callable[[Leaderboard], tuple[int, int]]) -> None:
    root = ET.XML(draw(board))
    points = [float(root.get(side, "").removesuffix("pt")) for side in ("width", "height")]
    # 96 pixels are 72 points.
    assert size(board) == tuple(round(one * 96 / 72) for one in points)


def test_words(board: Leaderboard) -> None:
    first = board.standings[0]
    root = ET.XML(rating_plot(board))
    title, told = root.findtext(f"{SVG}title"), root.findtext(f"{SVG}desc")
    assert title == "Ratings of 3 systems by votes on the answer"
    assert told is not None
    assert told.startswith(f"Best first: bm25+late {first.rating:.0f} ({first.low:.0f} to {first.high:.0f});")
    assert NASTY in told
    assert root.get("aria-label") == f"{title}. {told}"
    told = ET.XML(win_matrix(board)).findtext(f"{SVG}desc")
    assert told is not None
    assert f"bm25+late beats {NASTY} in {board.win_rates[0, 1]:.0%} of {board.games[0, 1]}" in told


@pytest.mark.parametrize("draw", [rating_plot, win_matrix])
def test_names_of_all_scripts_are_words(draw: Draw) -> None:
    names = {"系统 & <一号>": 1100.0, "نظام": 1000.0, "système 🙂": 900.0}
    board = leaderboard(simulate(Scenario(names, 600), seed=1))
    drawn = draw(board)
    shown = {one.text for one in ET.XML(drawn).iter(f"{SVG}text")}
    assert names.keys() <= shown
    assert INK not in drawn
    assert "style=" not in drawn
    # What the font has is drawn as ever.
    assert "<text" not in draw(leaderboard(simulate(Scenario(NAMES, 600), seed=1)))


def test_two_pictures_of_one_page_share_no_name(board: Leaderboard) -> None:
    other = leaderboard(simulate(Scenario(NAMES, 900), seed=1), Filters(board="evidence"))
    drawn = [rating_plot(board), win_matrix(board), rating_plot(other), win_matrix(other)]
    names = [set(re.findall(r'\sid="([^"]+)"', one)) for one in drawn]
    assert sum(map(len, names)) == len(set.union(*names))


def _luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_white_words_are_readable_on_every_hue() -> None:
    stops = [[int(hue[at : at + 2], 16) / 255 for at in (1, 3, 5)] for hue in (WEAK, MIDDLE, STRONG)]
    for low, high in ((stops[0], stops[1]), (stops[1], stops[2])):
        for step in range(11):
            mixed = tuple(a + (b - a) * step / 10 for a, b in zip(low, high, strict=True))
            assert 1.05 / (_luminance(mixed) + 0.05) >= 4.5


def test_threads_draw_whole_pictures(board: Leaderboard) -> None:
    wanted, drawn = [rating_plot(board), win_matrix(board)], []
    threads = [
        threading.Thread(target=lambda: drawn.extend([rating_plot(board), win_matrix(board)]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(drawn) == sorted(wanted * 4)


def test_what_cannot_be_drawn() -> None:
    empty = leaderboard(simulate(Scenario(NAMES, 0)))
    with pytest.raises(Unratable, match="no ratings to draw: no votes match"):
        rating_plot(empty)
    with pytest.raises(Unratable, match="no votes to draw"):
        win_matrix(empty)
    apart = leaderboard(simulate(Scenario(NAMES, 1)))
    with pytest.raises(Unratable, match="no ratings to draw: the votes do not join"):
        rating_plot(apart)
    assert "100%" in win_matrix(apart) or "0%" in win_matrix(apart)


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "ink"), [("light", "rgb(27, 27, 27)"), ("dark", "rgb(236, 236, 236)")])
def test_a_browser_shows_it_light_and_dark(
    board: Leaderboard, tmp_path: Path, scheme: Literal["light", "dark"], ink: str
) -> None:
    path = tmp_path / "plot.svg"
    path.write_text(rating_plot(board), encoding="utf-8")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = chromium.new_page(color_scheme=scheme)
        page.goto(path.as_uri())
        shown = page.evaluate(
            "() => [...document.querySelectorAll('use')].map(one => getComputedStyle(one).fill)"
        )
        # Words in the theme's colour, marks in blue.
        assert set(shown) == {ink, "rgb(31, 111, 178)"}
        chromium.close()
