"""What tells of a system without being its name: hosts, kinds of generators, and the ids of runs.

Such a sign is often an ordinary word (`local`, `gateway`, `test`), and an answer may say it of other things.
So one that no one would write by chance counts wherever it stands, and any other only where the text says
that it is one: behind `//`, behind a label, or where the answer speaks of itself. Knows nothing of where
signs come from, nor of what is put in their place.
"""

import contextlib
import re
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

RARE = 4
"""Characters of the shortest sign that counts wherever it stands: `b12` is a vitamin."""

# Tokens end where no letter, digit, dot or hyphen goes on: `a.example` is not in `b.a.example`.
_BEGIN, _END = r"(?<!\w)(?<!\w[-.])", r"(?!\w|[-.]\w)"

_QUOTE = "[\"'`“”‘’]?"

_LABELLED = (
    rf"(?:(?<=//)|\b(?:generator|run[ _-]?(?:id|tag|name)|host){_QUOTE}\s*[:=]\s*{_QUOTE}"
    rf"|\brun[ _-]?(?:id|tag|name)\s+(?:is\s+)?{_QUOTE})"
)
_SPEAKS = (
    r"\b(?:I\s+(?:am|was)|I['’]m|my\s+name\s+is)\s+"
    rf"(?:(?:[\w-]+\s+){{0,6}}(?:by|from|of|on)\s+)?(?:(?:an?|the)\s+)?{_QUOTE}"
)
_OF_ITSELF = (
    rf"(?={_QUOTE}\s*(?:[.,;:!?)]|$|(?:assistant|endpoint|generator|model|run|server|service|system)\b))"
)


def address_signs(url: str) -> tuple[str, ...]:
    """The host of an address, and the host with its port; of this machine itself, only the latter."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        shown = f"[{host}]" if ":" in host else host
        return (*(() if _is_here(host) else (host,)), *(() if port is None else (f"{shown}:{port}",)))
    return ()


def patterns(signs: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    """What finds signs in a text, each as the group `told`; capitals or not."""
    # The longest first: one may begin with another.
    words = sorted({sign.strip() for sign in signs} - {""}, key=lambda sign: (-len(sign), sign))
    rare = [word for word in words if _is_rare(word)]
    common = [word for word in words if not _is_rare(word)]
    found = [rf"{_BEGIN}{_told(rare)}{_END}"] if rare else []
    if common:
        told = _told(common)
        found += [rf"{_LABELLED}{told}{_END}", rf"{_SPEAKS}{told}{_END}{_OF_ITSELF}"]
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in found)


def _told(words: Iterable[str]) -> str:
    return rf"(?P<told>{'|'.join(map(re.escape, words))})"


def _is_rare(word: str) -> bool:
    """Whether it is an IP address, has a port, or has digits, dots or `_` beside letters (`run3`)."""
    with contextlib.suppress(ValueError):
        return bool(ip_address(word))
    mixed = re.search(r"[^\W\d_]", word) and re.search(r"[\d_.]", word)
    return len(word) >= RARE and bool(mixed or re.search(r":\d+$", word))


def _is_here(host: str) -> bool:
    """Whether a host is every machine's name for itself, or none."""
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return host in {"", "localhost"}
