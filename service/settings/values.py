"""Values that are written as text: lists with commas, and addresses."""

from urllib.parse import urlsplit


def split_list(value: str | None) -> list[str]:
    """The parts of a list with commas."""
    return [part.strip() for part in (value or "").split(",") if part.strip()]


def check_url(url: str) -> None:
    """Refuse what is no http(s)://HOST[:PORT][/PATH], with a ValueError that says so."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and len(url.split()) == 1
        fits = parts.scheme in {"http", "https"} and named and (parts.port or 1) > 0
    except ValueError:
        fits = False
    if not fits or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{url!r} is no address of a service: give http://HOST:PORT")
