"""The pages: templates and files of this package, and the headers they go out with.

A page needs nothing from another host, and its browser is told to take nothing from one. Knows how pages are
made and sent; nothing of what stands on them.
"""

import base64
import re
from collections.abc import Sequence
from hashlib import blake2b, sha256
from pathlib import Path

from fastapi import FastAPI, Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException

PAGES = Path(__file__).parent / "pages"

ASSETS, INLINE, STYLES, TEMPLATES = (PAGES / name for name in ("assets", "inline", "styles", "templates"))

SHEETS, SCRIPTS = (
    {path.name: path.read_text(encoding="utf-8").rstrip() for path in sorted(folder.iterdir())}
    for folder in (STYLES, INLINE)
)
"""Style sheets, the scripts that are there from the beginning, and the rules which links a browser may follow
before they are clicked (of those pages none begins, asks or counts anything before it is shown), by the names
of their files. They stand in the page itself: nothing is to be fetched before it is painted."""


def _hash(text: str) -> str:
    """A text as a policy names it."""
    return f"'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'"


POLICY = "; ".join(
    [
        "default-src 'none'",
        " ".join(["script-src 'self'", *map(_hash, SCRIPTS.values())]),
        " ".join(["style-src", *map(_hash, SHEETS.values())]),
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
    ".svg": "image/svg+xml",
}
"""Said here because what the host's own table says differs from host to host."""

_IMPORT = re.compile(r'^import .* from "\./([\w.]+)";$', re.MULTILINE)

ASK = ("/", "Ask")

Link = tuple[str, str]
"""An address and what it is called."""


class Site:
    """Pages made of templates: what they are given is put in as text, never as markup."""

    def __init__(self, nav: Sequence[Link] = (ASK,)) -> None:
        """Pages that lead to each other by `nav`."""
        self.nav = tuple(nav)
        self._templates = Environment(
            loader=FileSystemLoader([TEMPLATES, STYLES, INLINE, ASSETS]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals["modules"] = modules_of

    def page(self, name: str, here: str, **said: object) -> bytes:
        """The page of a template that is at the address `here`, with what it is to say."""
        text = self._templates.get_template(f"{name}.html").render(nav=self.nav, here=here, **said)
        return text.encode(errors="replace")


def page_response(
    request: Request, page: bytes, *, kind: str = ".html", status: int = 200, kept: str = "no-cache"
) -> Response:
    """A page, or 304 for a browser that has it; `kept` is what it may do with it."""
    etag = f'"{blake2b(page, digest_size=12).hexdigest()}"'
    headers = HEADERS | {"ETag": etag, "Cache-Control": kept}
    if status == 200 and etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(page, status, headers | {"Content-Type": TYPES[kind]})


def modules_of(script: str) -> list[str]:
    """All scripts that one imports, by whatever way: a browser that is told need not find out one by one."""
    found: list[str] = []
    waiting = [script]
    while waiting:
        text = (ASSETS / waiting.pop()).read_text(encoding="utf-8")
        imported = [name for name in _IMPORT.findall(text) if name not in found]
        found += imported
        waiting += imported
    return sorted(found)


def install(app: FastAPI, site: Site) -> None:
    """Serve the page to ask from at `/` and what pages need under `/assets`."""
    page = site.page("ask", "/")
    # Few and small: kept in memory, they are there before a page is painted without them.
    assets = {path.name: path.read_bytes() for path in ASSETS.iterdir()}

    async def ask(request: Request) -> Response:
        return page_response(request, page)

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in assets:
            raise HTTPException(404)
        return page_response(request, assets[name], kind=Path(name).suffix)

    app.add_route("/", ask, methods=["GET"], include_in_schema=False)
    app.add_route("/assets/{name}", asset, methods=["GET"], include_in_schema=False)
