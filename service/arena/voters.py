"""Who votes: pseudonyms that say nothing of anyone, in a signed cookie, and whose a battle is.

A pseudonym is a random number; the signature keeps others from making up voters. A battle's id holds a mark
that only its own voter's pseudonym gives, so that any process that has the secret, and no other memory, knows
whose it is.
"""

import hashlib
import hmac
import secrets

from starlette.requests import Request
from starlette.responses import Response

COOKIE = "ragnarok_voter"

KEPT_SECONDS = 365 * 24 * 3600

_MARK = 16


class Voters:
    """Gives out pseudonyms and knows them again."""

    def __init__(self, secret: bytes) -> None:
        """Sign with `secret`."""
        self._secret = secret

    def of(self, request: Request) -> str | None:
        """The pseudonym that a request's cookie holds, if it is one of ours."""
        name, _, mark = request.cookies.get(COOKIE, "").partition(".")
        return name if hmac.compare_digest(mark.encode(), self._mark("voter", name).encode()) else None

    def new(self) -> str:
        """A voter whom nobody has met."""
        return secrets.token_hex(8)

    def remember(self, response: Response, voter: str, *, secure: bool) -> None:
        """Have a browser keep a pseudonym: scripts cannot read it, and other sites' forms do not send it."""
        response.set_cookie(
            COOKIE,
            f"{voter}.{self._mark('voter', voter)}",
            max_age=KEPT_SECONDS,
            httponly=True,
            secure=secure,
            samesite="lax",
        )

    def new_battle(self, voter: str) -> str:
        """An id for a battle of this voter's."""
        number = secrets.token_hex(8)
        return f"{number}-{self._battle_mark(number, voter)}"

    def owns(self, voter: str | None, battle_id: str) -> bool:
        """Whether the battle was this voter's from the beginning."""
        number, _, mark = battle_id.partition("-")
        if voter is None or not mark:
            return False
        return hmac.compare_digest(mark.encode(), self._battle_mark(number, voter).encode())

    def _battle_mark(self, number: str, voter: str) -> str:
        return self._mark("battle", f"{number}:{voter}")[:_MARK]

    def _mark(self, purpose: str, text: str) -> str:
        told = f"{purpose}:{text}".encode(errors="replace")
        return hmac.new(self._secret, told, hashlib.sha256).hexdigest()[:32]
