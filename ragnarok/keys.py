"""API keys: how one is made, and how it is written down so that nobody who reads the list can use it.

A key holds 256 random bits, so its SHA-256 cannot be turned around; no slow hash is needed, as it would be
for a password. A line of a list is `NAME:HASH`, or `NAME:HASH:RATE` for a key with a limit of its own.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass

from ragnarok.errors import BadSetting

PREFIX = "rag_"
"""Keys begin with this, so that they can be told when they turn up where they should not be."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")
_RATE = re.compile(r"[1-9][0-9]{0,5}")


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A key as it is written down: whose it is, its hash, and its requests a minute if it has a limit."""

    name: str
    digest: str
    rate: int | None = None

    def __str__(self) -> str:
        """The line of a list."""
        return f"{self.name}:{self.digest}" + ("" if self.rate is None else f":{self.rate}")


def digest_of(key: str) -> str:
    """The hash of a key: SHA-256, 64 hexadecimal digits."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def make_key(name: str, rate: int | None = None) -> tuple[str, KeyLine]:
    """A new key and its line, with `rate` requests a minute if the key has a limit of its own.

    Raises `BadSetting`.
    """
    key = PREFIX + secrets.token_urlsafe(32)
    return key, read_line(str(KeyLine(name, digest_of(key), rate)))


def read_line(line: str) -> KeyLine:
    """What a line of a list says. Raises `BadSetting`, without repeating what might be a key."""
    name, _, rest = line.strip().partition(":")
    digest, limited, rate = rest.partition(":")
    if not _NAME.fullmatch(name):
        raise BadSetting(
            "the name of an API key has 1 to 64 letters, digits, dots, dashes and underscores: team-a:HASH"
        )
    if not _HASH.fullmatch(digest):
        raise BadSetting(f"the API key {name!r} lacks its hash; make its line with: ragnarok keys {name}")
    if limited and not _RATE.fullmatch(rate):
        raise BadSetting(
            f"the limit of the API key {name!r} is no number of requests a minute from 1 to 999999; "
            f"write {name}:HASH:60, or {name}:HASH for no limit of its own"
        )
    return KeyLine(name, digest, int(rate) if limited else None)


def read_lines(text: str) -> list[KeyLine]:
    """The keys of a list; empty lines and those that begin with # say nothing. Raises `BadSetting`."""
    lines = [line.strip() for line in text.splitlines()]
    keys = [read_line(line) for line in lines if line and not line.startswith("#")]
    names = [key.name for key in keys]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadSetting(f"the API key {twice[0]!r} is there twice; give each a name of its own")
    return keys
