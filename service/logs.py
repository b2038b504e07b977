"""How the log's lines are written: as text, or one JSON object a line, with the request that each is about.

What is said to a logger of ours stays one line and one object, a fault's trace included. No line holds a key,
a password, or a header of a request. Knows logging; nothing of what is said.
"""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from service.context import current

REQUESTS = "uvicorn.error.requests"
"""The logger of the line that each request has."""

SERVER = "uvicorn"
"""The logger above all of ours and the server's own, which holds the handlers."""

QUESTION = 1_000
"""Characters of a question that a line may hold."""


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's time, level and message, its request, what else is told, and its trace."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        if name := current().id:
            line["request"] = name
        told = getattr(record, "told", None)
        line |= told if told is not None else {"message": record.getMessage()}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def install(log_format: str) -> None:
    """Write what the server's handlers are told as JSON, if that is the format."""
    if log_format == "json":
        for handler in logging.getLogger(SERVER).handlers:
            handler.setFormatter(JsonLines())


def install_others(log_format: str) -> None:
    """Write what libraries warn of as JSON, if that is the format; for a process that does nothing else."""
    if log_format == "json":
        handler = logging.StreamHandler()
        handler.setFormatter(JsonLines())
        logging.basicConfig(level=logging.WARNING, handlers=[handler])
        logging.captureWarnings(True)


def say(told: Mapping[str, object]) -> None:
    """Say what became of a request; a text is quoted, so that it is no second line."""
    words = (f"{name}={json.dumps(value) if name == 'question' else value}" for name, value in told.items())
    logging.getLogger(REQUESTS).info("%s", " ".join(words), extra={"told": dict(told)})
