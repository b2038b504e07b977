"""The page to ask from: files of this package, and the headers they go out with.

The page needs nothing from another host, and its browser is told to take nothing from one.
"""

import os
from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

PAGES = Path(__file__).parent / "pages"

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # The question stands in the page's address, and is nobody else's business.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Kept, but asked for again each time: an answer of 304 costs little, an old script costs much.
    "Cache-Control": "no-cache",
}

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Said here because what the host's own table says differs from host to host."""


class Site(StaticFiles):
    """The page's files with their headers."""

    def __init__(self) -> None:
        """Serve the package's own folder."""
        super().__init__(directory=PAGES)

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The file, or 304, with the page's headers."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(HEADERS)
        if response.status_code == 200:
            response.headers["Content-Type"] = TYPES[Path(full_path).suffix]
        return response


def install(app: FastAPI) -> None:
    """Serve the page at `/` and what it needs under `/assets`."""
    site = Site()

    async def page(request: Request) -> Response:
        return await site.get_response("index.html", request.scope)

    app.add_route("/", page, methods=["GET"], include_in_schema=False)
    app.mount("/assets", site)
