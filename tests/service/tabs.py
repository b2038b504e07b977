"""A Chromium whose tabs may be in the background, and make pages before a click."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.devtools import Tabs, chromium
from tests.service.conftest import ARGUMENTS


@contextmanager
def tabs_of(profile: Path, *arguments: str) -> Iterator[Tabs]:
    """The tabs of a Chromium of one's own, with its profile in a folder."""
    if shutil.which("chromium") is None:
        pytest.skip("no chromium here; tests/setup-system.sh installs it on Debian")
    with chromium(profile, *ARGUMENTS, *arguments) as tabs:
        yield tabs
