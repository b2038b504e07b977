"""`ragnarok serve`: the REST endpoint and the page, in one process."""

import importlib
import os
import socket
from typing import Annotated

import typer

from ragnarok.errors import BadSetting


def serve(
    index: Annotated[
        str | None,
        typer.Option("--index", "-i", help="Name or path of the index to search; else as the settings say."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Model that re-ranks and answers; else as the settings say."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Start the service: POST /v1/query, and a page to ask from at /.

    Every other setting is an environment variable, or stands in the file that RAGNAROK_SETTINGS names;
    docs/service.md lists them.

    Example: ragnarok serve --index demo --port 8000
    """
    _check_free(host, port)
    given = {"RAGNAROK_INDEX": index, "RAGNAROK_MODEL": model}
    os.environ.update({name: value for name, value in given.items() if value is not None})
    # By name, not by import: services are built on the pipeline, never the other way round.
    importlib.import_module("service.server").run(host, port)


def _check_free(host: str, port: int) -> None:
    """Refuse an address that cannot be had before a model is loaded for it."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise BadSetting(
            f"{host}:{port} cannot be listened on ({error.strerror}); choose another with --port or --host"
        ) from error
