"""Battle tokens: what the page of a battle holds, so that its voter, and nobody else, can vote on it once.

A token names a battle and is signed; it says nothing of who meets there. That it is used once is for the
store, which keeps the token's id with the vote. Knows nothing of pages and cookies.
"""

import hashlib
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from itsdangerous import BadSignature, SignatureExpired, URLSafeTimedSerializer

from ragnarok.errors import BadSetting, BadToken

SECONDS = 24 * 3600
"""How long a token is good, unless told otherwise."""

LEAST_SECRET = 32
"""Characters of the shortest secret."""

_SALT = "ragnarok arena battle"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a token says: its own id, which the store takes once, and the battle it is for."""

    token_id: str
    battle_id: str


class Tokens:
    """Makes tokens and reads them. Safe for threads."""

    def __init__(self, secret: str, seconds: int = SECONDS) -> None:
        """Sign with `secret`; a token is good for `seconds`. Raises `BadSetting` for a short secret."""
        if len(secret) < LEAST_SECRET:
            raise BadSetting(
                f"the arena's secret has {len(secret)} characters, the least is {LEAST_SECRET}; "
                "make one with: python -c 'import secrets; print(secrets.token_hex(32))'"
            )
        self.seconds = seconds
        signer = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._serializer = URLSafeTimedSerializer(secret, _SALT, signer_kwargs=signer)

    def issue(self, battle_id: str, voter: str) -> str:
        """A new token for a battle and a voter's pseudonym, of letters that a URL can hold."""
        return str(self._serializer.dumps([secrets.token_urlsafe(12), battle_id, _short(voter)]))

    def read(self, token: str, battle_id: str, voter: str) -> Ticket:
        """What `token` says. Raises `BadToken` if it was changed, is too old, or is not for these two."""
        try:
            said = self._serializer.loads(token.encode("ascii", "replace"), max_age=self.seconds)
        except SignatureExpired:
            hours = self.seconds / 3600
            raise BadToken(
                f"the token is older than {hours:g} hours, for which a battle waits; begin another one"
            ) from None
        except BadSignature:
            raise BadToken("the token was changed, or is of another arena; open the battle anew") from None
        token_id, named, whose = said
        if named != battle_id:
            raise BadToken(f"the token is not for the battle {battle_id[:80]!r}; open that battle's page")
        if not secrets.compare_digest(whose, _short(voter)):
            raise BadToken("the token is another voter's; vote where the battle was started")
        return Ticket(token_id, named)


def read_secret(path: Path) -> str:
    """The secret in a file; where there is none, a new one is written that only the file's owner can read.

    Processes that start together get the same. Raises `BadSetting`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written whole before it has its name, and never over another's.
        beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        if not path.exists():
            beside.touch(mode=0o600, exist_ok=False)
            beside.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
            with suppress(FileExistsError):
                path.hardlink_to(beside)
            beside.unlink()
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting(
            f"{path}: the arena's secret cannot be read or written there ({error}); name another file"
        ) from error


def _short(voter: str) -> str:
    # The page need not show the pseudonym.
    return hashlib.blake2b(voter.encode(errors="surrogatepass"), digest_size=12).hexdigest()
