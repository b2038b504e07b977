"""How soon a page is painted once its link is clicked on which the mouse has rested, in a headless Chromium.

    python benchmarks/rested.py [--runs 16] [--rest 0.4] [--press 0.08] [--votes 2000]

Told are medians of the milliseconds from the click, when the mouse's button comes up, to the first paint that
the browser tells of, in turn without and with our rules for pages that may be made before a click. Chromium
begins one once the mouse has rested on its link for 0.2 s, or as the button goes down.

Playwright speaks to each page by itself, and Chromium then makes none before a click: here a tab is spoken to
as a whole.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from paint import served

PATIENCE = 30.0
"""Seconds within which a page must be there."""

START = "/battle/simulated-000001"

PATHS = ("/", "/battle", "/leaderboard", "/compare")

MIDDLE = """location.pathname !== '{start}' || document.readyState !== 'complete' ? null
    : (({{x, y, width, height}}) => ({{x: x + width / 2, y: y + height / 2}}))(
        document.querySelector('nav a[href="{path}"]').getBoundingClientRect())"""
"""Where a link is, once its page is there."""

PAINTED = """(([paint], [{{activationStart}}]) => location.pathname !== '{path}' || !paint ? null
    : {{at: performance.timeOrigin + paint.startTime, before: Number(activationStart > 0)}})(
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
    with served(given.votes) as address, _chromium() as browser:
        # The first round wakes the server and the browser.
        for run in range(given.runs + 1):
            for path in PATHS:
                for ruled in (True, False) if run % 2 else (False, True):
                    one, before = _visit(browser, address, path, ruled, given.rest, given.press)
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


class _Browser:
    """Speaks the DevTools protocol over a pair of pipes."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._rest, self._asked = to, back, b"", 0
        self.beside: list[dict[str, Any]] = []

    def call(self, method: str, params: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        """What a method replies: `result` or `error`; what comes before it is put beside."""
        self._asked += 1
        asked = {"id": self._asked, "method": method, "params": params}
        os.write(self._to, json.dumps(asked | ({"sessionId": session} if session else {})).encode() + b"\0")
        while (said := self._message()).get("id") != self._asked:
            self.beside.append(said)
        return said

    def found(self, session: str, expression: str) -> dict[str, float]:
        """What an expression comes to in a page, as soon as there is one and it is not null.

        Raises `TimeoutError` where that takes too long.
        """
        asked = {"expression": expression, "returnByValue": True}
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            said = self.call("Runtime.evaluate", asked, session)
            if value := said.get("result", {}).get("result", {}).get("value"):
                return value
            time.sleep(0.02)
        raise TimeoutError(f"nothing came of {expression!r} within {PATIENCE:g} seconds")

    def page(self, attached: int) -> str:
        """The last page that was met, of what was put beside after so many."""
        met = [one["params"] for one in self.beside[attached:] if one["method"] == "Target.attachedToTarget"]
        pages = [one["sessionId"] for one in met if one["targetInfo"]["type"] == "page"]
        return pages[-1] if pages else ""

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            self._rest += os.read(self._back, 1 << 16)
        one, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        return message


def _visit(
    browser: _Browser, address: str, path: str, ruled: bool, rest: float, press: float
) -> tuple[float, bool]:
    """Milliseconds from a click on a link to the first paint behind it, and whether it was begun before."""
    target, page = _begun(browser)
    browser.call("Network.enable", {}, page)
    browser.call("Network.setBlockedURLs", {"urls": [] if ruled else ["*/assets/prerender.json"]}, page)
    browser.call("Page.navigate", {"url": f"{address}{START}"}, page)
    place = browser.found(page, MIDDLE.format(start=START, path=path))
    time.sleep(0.4)
    met = len(browser.beside)
    browser.call("Input.dispatchMouseEvent", {"type": "mouseMoved", **place}, page)
    time.sleep(rest)
    button = {"button": "left", "clickCount": 1, **place}
    browser.call("Input.dispatchMouseEvent", {"type": "mousePressed", **button}, page)
    time.sleep(press)
    clicked = time.time() * 1000
    browser.call("Input.dispatchMouseEvent", {"type": "mouseReleased", **button}, page)
    time.sleep(0.4)
    browser.call("Browser.getVersion", {})
    painted = browser.found(browser.page(met) or page, PAINTED.format(path=path))
    browser.call("Target.closeTarget", {"targetId": target})
    return painted["at"] - clicked, bool(painted["before"])


def _begun(browser: _Browser) -> tuple[str, str]:
    """A new tab, and the name by which its page is spoken to."""
    target = browser.call("Target.createTarget", {"url": "about:blank", "forTab": True})["result"]["targetId"]
    tab = browser.call("Target.attachToTarget", {"targetId": target, "flatten": True})["result"]["sessionId"]
    met = len(browser.beside)
    every = {"autoAttach": True, "flatten": True, "waitForDebuggerOnStart": False, "filter": [{}]}
    browser.call("Target.setAutoAttach", every, tab)
    return target, browser.page(met)


@contextmanager
def _chromium() -> Iterator[_Browser]:
    """A browser of one's own, with a new profile."""
    asked, to = os.pipe()
    back, said = os.pipe()
    with tempfile.TemporaryDirectory() as profile:
        wanted = ["--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", "--no-sandbox"]
        # It reads from its file 3 and writes to its file 4.
        shell = [
            "sh",
            "-c",
            f'exec "$0" "$@" 3</dev/fd/{asked} 4>/dev/fd/{said}',
            shutil.which("chromium") or "",
        ]
        process = subprocess.Popen(
            [*shell, *wanted, "--disable-gpu"], pass_fds=(asked, said), stderr=subprocess.DEVNULL
        )
        try:
            yield _Browser(to, back)
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
