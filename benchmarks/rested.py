"""How soon a page is painted once its link is clicked on which the mouse has rested, in a headless Chromium.

    python benchmarks/rested.py [--runs 16] [--rest 0.4] [--press 0.08] [--votes 2000]

Told are medians of the milliseconds from the click, when the mouse's button comes up, to the first paint that
the browser tells of, in turn without and with our rules for pages that may be made before a click. Chromium
begins one once the mouse has rested on its link for 0.2 s, or as the button goes down.

Playwright speaks to each page by itself, and Chromium then makes none before a click: here a tab is spoken to
as a whole.
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from devtools import Tabs, chromium
from paint import served

START = "/battle/simulated-000001"

PATHS = ("/", "/battle", "/leaderboard", "/compare")

THERE = "location.pathname === '{path}' && document.readyState === 'complete'"

PAINTED = """(([paint], [{{activationStart}}]) => location.pathname !== '{path}' || !paint ? null
    : [performance.timeOrigin + paint.startTime, activationStart > 0])(
        performance.getEntriesByName('first-contentful-paint'), performance.getEntriesByType('navigation'))"""
"""When a page was painted, by the clock, and whether it was begun before it was seen."""


def main() -> None:
    """Measure, and print a line for each page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--rest", type=float, default=0.4)
    parser.add_argument("--press", type=float, default=0.08)
    parser.add_argument("--votes", type=int, default=2000)
    given = parser.parse_args()
    took: dict[tuple[str, bool], list[float]] = defaultdict(list)
    made: dict[str, int] = defaultdict(int)
    with (
        served(given.votes) as address,
        tempfile.TemporaryDirectory() as profile,
        chromium(Path(profile), "--no-sandbox", "--disable-gpu") as tabs,
    ):
        # The first round wakes the server and the browser.
        for run in range(given.runs + 1):
            for path in PATHS:
                for ruled in (True, False) if run % 2 else (False, True):
                    one, before = _visit(tabs, address, path, ruled, given.rest, given.press)
                    if run:
                        took[path, ruled].append(one)
                        made[path] += before
    print(f"{'page':14} {'without':>8} {'with':>8}  ms; fastest; begun before the click")
    for path in PATHS:
        without, ruled = took[path, False], took[path, True]
        print(
            f"{path:14} {statistics.median(without):8.0f} {statistics.median(ruled):8.0f}"
            f"  {min(without):.0f}, {min(ruled):.0f}; {made[path]} of {given.runs}"
        )


def _visit(tabs: Tabs, address: str, path: str, ruled: bool, rest: float, press: float) -> tuple[float, bool]:
    """Milliseconds from a click on a link to the first paint behind it, and whether it was begun before."""
    tab = tabs.open_whole()
    (page,) = tabs.pages(tab)
    tabs.call("Page.setPrerenderingAllowed", {"isAllowed": ruled}, page)
    tabs.call("Page.navigate", {"url": f"{address}{START}"}, page)
    tabs.until(page, THERE.format(path=START))
    time.sleep(0.4)
    place = tabs.middle(page, f'nav a[href="{path}"]')
    tabs.move(page, place)
    time.sleep(rest)
    clicked = tabs.press(page, place, seconds=press) * 1000
    time.sleep(0.4)
    painted = tabs.until(tabs.pages(tab)[-1], PAINTED.format(path=path))
    assert isinstance(painted, list)
    tabs.close(tab)
    return painted[0] - clicked, painted[1]


if __name__ == "__main__":
    main()
