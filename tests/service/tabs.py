"""A Chromium whose tabs may be in the background: Playwright has each one think that it is in front."""

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

import pytest

from tests.service.conftest import ARGUMENTS
from tests.service.running import WAIT

NO_PAGE = -32000
"""The protocol's error where a tab has no page, as between two of them."""


class NoPage(Exception):
    """A tab has no page yet."""


class Tabs:
    """Speaks the DevTools protocol over a pair of pipes; what is no reply is kept beside."""

    def __init__(self, to: int, back: int) -> None:
        """Write to one pipe and read from the other."""
        self._to, self._back, self._rest, self._asked = to, back, b"", 0
        self._beside: list[dict[str, Any]] = []

    def open(self, url: str, *, background: bool) -> str:
        """A new tab; gives the name by which it is spoken to."""
        made = self.call("Target.createTarget", {"url": url, "background": background})
        attached = self.call("Target.attachToTarget", {"targetId": made["targetId"], "flatten": True})
        return str(attached["sessionId"])

    def open_whole(self) -> str:
        """A new tab spoken to as a tab; its pages are told by `pages`.

        One that is spoken to as its page makes no other before a click.
        """
        made = self.call("Target.createTarget", {"url": "about:blank", "forTab": True})
        attached = self.call("Target.attachToTarget", {"targetId": made["targetId"], "flatten": True})
        tab = str(attached["sessionId"])
        every = {"autoAttach": True, "flatten": True, "waitForDebuggerOnStart": False, "filter": [{}]}
        self.call("Target.setAutoAttach", every, tab)
        return tab

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

    def value(self, tab: str, expression: str) -> object:
        """What an expression comes to in a tab, or what it promises. Raises `NoPage`."""
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        said = self.call("Runtime.evaluate", asked, tab)
        assert "exceptionDetails" not in said, said
        value: object = said["result"].get("value")
        return value

    def until(self, tab: str, expression: str) -> None:
        """Wait until an expression is true in a tab."""
        end = time.monotonic() + WAIT
        while True:
            with contextlib.suppress(NoPage):
                if self.value(tab, expression):
                    return
            assert time.monotonic() < end, expression
            time.sleep(0.02)

    def call(self, method: str, params: dict[str, Any], tab: str | None = None) -> dict[str, Any]:
        """The result of a method. Raises `NoPage`."""
        self._asked += 1
        asked = {"id": self._asked, "method": method, "params": params}
        if tab is not None:
            asked["sessionId"] = tab
        os.write(self._to, json.dumps(asked).encode() + b"\0")
        while (said := self._message()).get("id") != self._asked:
            self._beside.append(said)
        if said.get("error", {}).get("code") == NO_PAGE:
            raise NoPage(said)
        assert "error" not in said, said
        result: dict[str, Any] = said["result"]
        return result

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = os.read(self._back, 1 << 16)
            assert read, "Chromium ended"
            self._rest += read
        one, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        return message


@contextmanager
def tabs_of(profile: Path) -> Iterator[Tabs]:
    """The tabs of a Chromium of one's own, with its profile in a folder."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here; tests/setup-system.sh installs it on Debian")
    asked, to = os.pipe()
    back, said = os.pipe()
    wanted = [chromium, "--headless", "--remote-debugging-pipe", f"--user-data-dir={profile}", *ARGUMENTS]
    # It reads from its file 3 and writes to its file 4.
    shell = ["sh", "-c", f'exec "$0" "$@" 3</dev/fd/{asked} 4>/dev/fd/{said}', *wanted]
    with subprocess.Popen(shell, pass_fds=(asked, said), stderr=subprocess.DEVNULL) as process:
        for end in (asked, said):
            os.close(end)
        try:
            yield Tabs(to, back)
        finally:
            process.terminate()
            process.wait(WAIT)
            for end in (to, back):
                os.close(end)
