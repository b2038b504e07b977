"""Battle tokens: for one battle and one voter, for a while, and nobody can make one."""

import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ragnarok.arena.tokens import Tokens, read_secret
from ragnarok.errors import BadSetting, BadToken

SECRET = "0123456789abcdef" * 2


def test_a_token_says_what_it_is_for() -> None:
    tokens = Tokens(SECRET)
    first, second = tokens.issue("b1", "ann"), tokens.issue("b1", "ann")
    one, two = tokens.read(first, "b1", "ann"), Tokens(SECRET).read(second, "b1", "ann")
    assert one.battle_id == two.battle_id == "b1"
    assert one.token_id != two.token_id
    assert "ann" not in first
    assert first.isascii()
    assert not set(first) & set(" /+=&?#%")


@pytest.mark.parametrize(
    ("token", "battle", "voter", "says"),
    [
        ("{}x", "b1", "ann", "changed"),
        ("x{}", "b1", "ann", "changed"),
        ("", "b1", "ann", "changed"),
        ("é\ud800", "b1", "ann", "changed"),
        ("{}", "b2", "ann", "not for the battle 'b2'"),
        ("{}", "b1", "bob", "another voter's"),
    ],
)
def test_a_token_is_good_for_nothing_else(token: str, battle: str, voter: str, says: str) -> None:
    tokens = Tokens(SECRET)
    with pytest.raises(BadToken, match=says):
        tokens.read(token.format(tokens.issue("b1", "ann")), battle, voter)


def test_every_changed_letter_is_noticed() -> None:
    tokens = Tokens(SECRET)
    token = tokens.issue("b1", "ann")
    # The last letter of a part may hold bits that say nothing.
    ends = {place for place, letter in enumerate(f"{token}.") if letter == "."}
    for place, letter in enumerate(token):
        if place + 1 not in ends:
            changed = token[:place] + ("B" if letter != "B" else "C") + token[place + 1 :]
            with pytest.raises(BadToken):
                tokens.read(changed, "b1", "ann")


def test_another_secret_is_another_arena() -> None:
    with pytest.raises(BadToken, match="another arena"):
        Tokens("f" * 32).read(Tokens(SECRET).issue("b1", "ann"), "b1", "ann")


def test_a_token_grows_old() -> None:
    tokens = Tokens(SECRET, seconds=1)
    token = tokens.issue("b1", "ann")
    assert tokens.read(token, "b1", "ann").battle_id == "b1"
    time.sleep(2.1)
    with pytest.raises(BadToken, match=r"older than .* begin another one"):
        tokens.read(token, "b1", "ann")


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(BadSetting, match="has 5 characters"):
        Tokens("short")


def test_a_secret_is_made_once_and_only_for_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "new" / "secret"
    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: read_secret(file), range(32)))
    (secret,) = found
    assert len(secret) == 64
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["secret"]
    file.write_text(f"{SECRET}\n")
    assert read_secret(file) == SECRET


def test_a_secret_that_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadSetting, match="name another file"):
        read_secret(tmp_path / "file" / "secret")
