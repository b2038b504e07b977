"""The command line, run in this process."""

import sys
import warnings
from collections.abc import Callable

import pytest

from ragnarok.cli import main

Command = Callable[..., tuple[int, str, str]]
"""Takes the words after `ragnarok`; gives the exit code, the output, and errors without progress."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs `ragnarok …`."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ragnarok", *map(str, words)])
        capfd.readouterr()
        with warnings.catch_warnings(), pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        assert isinstance(code, int)
        out, err = capfd.readouterr()
        return code, out, "\n".join(line for line in err.splitlines() if not line.startswith("✓ "))

    return run
