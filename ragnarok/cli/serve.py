"""`ragnarok serve`: the REST endpoint and the page, in one process."""

import os
from typing import Annotated

import typer

from ragnarok.cli.options import IndexName, ModelName


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

    # By name, not by import: services are built on the pipeline, never the other way round.
    os.environ["RAGNAROK_INDEX"], os.environ["RAGNAROK_MODEL"] = index, model
    uvicorn.run("service.app:create_app", factory=True, host=host, port=port, log_level="info")
