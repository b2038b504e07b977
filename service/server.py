"""The server around the application: how it listens, and how it ends.

Told to end (SIGTERM), it takes no more connections, lets the answers being given finish for as long as the
settings say, and exits with 0. What is still being computed after that is given up with the process.
"""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from service import logs
from service.app import create_app
from service.settings import Settings, load_settings
from service.worker import THREADS

_log = logging.getLogger("uvicorn.error")


def run(host: str, port: int, make: Callable[[Settings], FastAPI] = create_app) -> None:
    """Serve what `make` makes at an address until told to end.

    Raises `BadSetting`; exits with 3 where the start fails.
    """
    settings = load_settings()
    logs.install_others(settings.log_format)
    # The server raises the signal once more when it has ended; that would end the process as if killed.
    signal.signal(signal.SIGTERM, _end)
    try:
        uvicorn.run(
            lambda: make(settings),
            factory=True,
            host=host,
            port=port,
            timeout_graceful_shutdown=settings.shutdown_seconds,
        )
    except SystemExit as ended:
        _leave(ended.code if isinstance(ended.code, int) else 1)
    _leave(0)


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


def _leave(code: int) -> None:
    """Exit at once where a thread is still at what nobody waits for: Python would wait for its end."""
    if any(one.name.startswith(THREADS) for one in threading.enumerate()):
        _log.warning("What was still being computed is given up")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if code:
        sys.exit(code)
