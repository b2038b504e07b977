"""`ragnarok serve`: the REST endpoint and the page, in one process."""

import os
import socket
from typing import Annotated

import typer

from ragnarok.cli.options import IndexName, ModelName
from ragnarok.errors import BadSetting


def serve(
    index: IndexName = "demo",
    model: ModelName = "smollm2-135m",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
) -> None:
    """Start the service: POST /v1/query, and a page to ask from at /.

    Every other setting is an environment variable; docs/service.md lists them.

    Example: ragnarok serve --index demo --port 8000
    """
    import uvicorn

    _check_free(host, port)

    # By name, not by import: services are built on the pipeline, never the other way round.
    os.environ["RAGNAROK_INDEX"], os.environ["RAGNAROK_MODEL"] = index, model
    uvicorn.run("service.app:create_app", factory=True, host=host, port=port, log_level="info")


def _check_free(host: str, port: int) -> None:
    """Refuse an address that cannot be had before a model is loaded for it."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise BadSetting(
            f"{host}:{port} cannot be listened on ({error.strerror}); choose another with --port or --host"
        ) from error
