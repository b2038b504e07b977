"""A Chromium spoken to by its DevTools protocol, where Playwright's own way would change what is looked at.

Playwright has every tab think that it is in front and keeps no page for the way back; and where a page is
spoken to by itself, Chromium makes no other before a click. Knows the protocol; nothing of pages.
"""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 20.0
"""Seconds within which something must be there."""

NO_PAGE = -32000
"""The protocol's error where a tab has no page, as between two of them."""

Place = dict[str, float]
"""Where the mouse is: `x` and `y`."""


class NoPage(Exception):
    """A tab has no page yet."""


class Refused(Exception):
    """The browser did not do what it was asked, or an expression failed in its page."""


class Tabs:
    """The tabs of a browser, over a pair of pipes; what is no reply is kept beside."""

    def __init__(self, to: int, back: int) -> None:
        """Write to one pipe and read from the other."""
        self._to, self._back, self._rest, self._asked = to, back, b"", 0
        self._beside: list[dict[str, Any]] = []

    def open(self, url: str, *, background: bool) -> str:
        """A new tab; gives the name by which it is spoken to."""
        return self._attached({"url": url, "background": background})

    def open_whole(self) -> str:
        """A new tab spoken to as a tab, which may make pages before a click; they are told by `pages`."""
        tab = self._attached({"url": "about:blank", "forTab": True})
        every = {"autoAttach": True, "flatten": True, "waitForDebuggerOnStart": False, "filter": [{}]}
        self.call("Target.setAutoAttach", every, tab)
        return tab

    def close(self, tab: str) -> None:
        """End a tab."""
        told = self.call("Target.getTargetInfo", {}, tab)
        self.call("Target.closeTarget", {"targetId": told["targetInfo"]["targetId"]})

    def pages(self, tab: str) -> list[str]:
        """The names of the page that a whole tab shows, and of those that it makes before a click."""
        self.call("Browser.getVersion", {})
        there: list[str] = []
        for said in self._beside:
            if said.get("sessionId") != tab:
                continue
            if said["method"] == "Target.attachedToTarget" and said["params"]["targetInfo"]["type"] == "page":
                there.append(said["params"]["sessionId"])
            elif said["method"] == "Target.detachedFromTarget" and said["params"]["sessionId"] in there:
                there.remove(said["params"]["sessionId"])
        return there

    def middle(self, page: str, selector: str) -> Place:
        """The middle of what a selector finds in a page."""
        corner = (
            f"(({{x, y, width, height}}) => ({{x: x + width / 2, y: y + height / 2}}))"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        place = self.value(page, corner)
        if not isinstance(place, dict):
            raise Refused(f"{selector!r} has no place in the page")
        return place

    def move(self, page: str, place: Place) -> None:
        """Put the mouse there."""
        self.call("Input.dispatchMouseEvent", {"type": "mouseMoved", **place}, page)

    def press(self, page: str, place: Place, *, seconds: float = 0.0) -> float:
        """Hold the mouse's button down there for so long; gives when it came up, in seconds since 1970."""
        button = {"button": "left", "clickCount": 1, **place}
        self.call("Input.dispatchMouseEvent", {"type": "mousePressed", **button}, page)
        time.sleep(seconds)
        up = time.time()
        self.call("Input.dispatchMouseEvent", {"type": "mouseReleased", **button}, page)
        return up

    def value(self, tab: str, expression: str) -> object:
        """What an expression comes to in a tab, or what it promises. Raises `NoPage` and `Refused`."""
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        said = self.call("Runtime.evaluate", asked, tab)
        if "exceptionDetails" in said:
            raise Refused(f"{expression}: {said['exceptionDetails']}")
        value: object = said["result"].get("value")
        return value

    def until(self, tab: str, expression: str) -> object:
        """What an expression comes to in a tab as soon as that is true.

        Raises `Refused`, and `TimeoutError` where it takes longer than `PATIENCE`.
        """
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(NoPage):
                if value := self.value(tab, expression):
                    return value
            time.sleep(0.02)
        raise TimeoutError(f"this was not true within {PATIENCE:g} seconds: {expression}")

    def call(self, method: str, params: dict[str, Any], tab: str | None = None) -> dict[str, Any]:
        """The result of a method. Raises `NoPage` and `Refused`."""
        self._asked += 1
        asked = {"id": self._asked, "method": method, "params": params}
        if tab is not None:
            asked["sessionId"] = tab
        os.write(self._to, json.dumps(asked).encode() + b"\0")
        while (said := self._message()).get("id") != self._asked:
            self._beside.append(said)
        if said.get("error", {}).get("code") == NO_PAGE:
            raise NoPage(said["error"])
        if "error" in said:
            raise Refused(f"{method}: {said['error']}")
        result: dict[str, Any] = said["result"]
        return result

    def _attached(self, wanted: dict[str, Any]) -> str:
        made = self.call("Target.createTarget", wanted)
        attached = self.call("Target.attachToTarget", {"targetId": made["targetId"], "flatten": True})
        return str(attached["sessionId"])

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = os.read(self._back, 1 << 16)
            if not read:
                raise Refused("Chromium ended")
            self._rest += read
        one, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        return message


@contextmanager
def chromium(profile: Path, *arguments: str) -> Iterator[Tabs]:
    """The tabs of a headless Chromium of one's own, with its profile in a folder.

    Raises `FileNotFoundError` where there is none.
    """
    program = shutil.which("chromium")
    if program is None:
        raise FileNotFoundError("no chromium here; tests/setup-system.sh installs it on Debian")
    asked, to = os.pipe()
    back, said = os.pipe()
    wanted = [program, "--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", *arguments]
    # It reads from its file 3 and writes to its file 4.
    shell = ["sh", "-c", f'exec "$0" "$@" 3</dev/fd/{asked} 4>/dev/fd/{said}', *wanted]
    with subprocess.Popen(shell, pass_fds=(asked, said), stderr=subprocess.DEVNULL) as process:
        for end in (asked, said):
            os.close(end)
        try:
            yield Tabs(to, back)
        finally:
            process.terminate()
            process.wait(PATIENCE)
            for end in (to, back):
                os.close(end)
