"""The server around the application: how it listens, and how it ends.

Told to end (SIGTERM), it takes no more connections, lets the answers being given finish for as long as the
settings say, and exits with 0. What is still being computed after that is given up with the process.
"""

import contextlib
import gc
import logging
import os
import signal
import socket
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

START_FAILED = 3

BEFORE_LIBRARIES = {"OMP_WAIT_POLICY": "PASSIVE", "TQDM_DISABLE": "1"}
"""What libraries read when they are loaded, unless the environment says otherwise.

Threads of a pass that spin while they wait for each other keep a core from whoever shares the machine, and
are kept waiting by them: such a pass takes several times as long. Bars are no lines of a log.
"""

GARBAGE = 50_000
"""New objects after which the collector looks through them."""


def run(host: str, port: int, make: Callable[[Settings], FastAPI] = create_app) -> None:
    """Serve what `make` makes at an address until told to end.

    Raises `BadSetting`; exits with 3 where the start fails.
    """
    for name, value in BEFORE_LIBRARIES.items():
        os.environ.setdefault(name, value)
    settings = load_settings()
    logs.install_others(settings.log_format)
    # The server raises the signal once more when it has ended; that would end the process as if killed.
    signal.signal(signal.SIGTERM, _end)
    config = uvicorn.Config(
        lambda: make(settings),
        factory=True,
        host=host,
        port=port,
        server_header=False,
        access_log=False,  # One line a request is enough, and `service.operations` writes it.
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    server = _Server(config)
    try:
        # Told to end by Ctrl-C, the server raises that once more when it has ended.
        with contextlib.suppress(KeyboardInterrupt):
            server.run()
    except SystemExit as ended:
        _leave(ended.code if isinstance(ended.code, int) else 1)
    _leave(0 if server.started else START_FAILED)


class _Server(uvicorn.Server):
    """A server for whose collector of garbage the start is past."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; what is there then stays as long as the process, and is never looked through again."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        # A request leaves hundreds of objects; looking through them after every few takes a fourth of it.
        gc.set_threshold(GARBAGE)


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
