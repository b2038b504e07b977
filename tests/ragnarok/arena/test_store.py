"""The arena's store: on SQLite and on PostgreSQL, shared by threads and processes, and killed."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from indexes.errors import DiskFull
from ragnarok.arena.database import read_url
from ragnarok.arena.rows import AnyRow, battle_row, system_row, vote_row
from ragnarok.arena.store import ArenaStore, Counts
from ragnarok.arena.types import STYLE, Columns, System, Vote
from ragnarok.errors import ArenaConflict, ArenaUnusable, BadFormat, BadSetting, NotFound
from tests.ragnarok.arena.battles import NOON, SYSTEMS, a_battle, a_vote, an_output, many


@pytest.fixture
def begun(store: ArenaStore) -> ArenaStore:
    """A store with the systems and one battle."""
    store.add_systems(SYSTEMS)
    store.add_battle(a_battle())
    return store


def test_what_is_kept_comes_back_as_it_was(begun: ArenaStore, url: str) -> None:
    battle = a_battle("b2", topics="set")
    begun.add_battle(battle)
    assert begun.add_vote(a_vote())
    again = ArenaStore(url)
    assert again.systems() == SYSTEMS
    assert again.battle("b2") == battle
    assert again.battle("b2").a.hits[1].highlights[0].weight == 0.75
    assert (again.votes_on("b1"), again.votes_on("b2")) == ([a_vote()], [])
    assert again.counts() == Counts(3, 2, 1)
    again.close()


def test_the_same_again_changes_nothing(begun: ArenaStore) -> None:
    begun.add_systems(SYSTEMS)
    begun.add_battle(a_battle())
    assert begun.counts() == Counts(3, 1, 0)


def test_a_name_means_one_configuration(begun: ArenaStore) -> None:
    other = System("late", {"index": "demo", "reranker": "later"})
    with pytest.raises(ArenaConflict, match="'late' is kept with another configuration"):
        begun.add_systems([System("new"), other])
    assert [system.name for system in begun.systems()] == ["bm25", "late", "joint"]
    with pytest.raises(ArenaConflict, match="one for good"):
        begun.add_battle(a_battle("b2", other, SYSTEMS[0]))


def test_a_battle_is_not_rewritten(begun: ArenaStore) -> None:
    with pytest.raises(ArenaConflict, match="'b1' is kept with another content"):
        begun.add_battle(replace(a_battle(), question="another?"))
    assert begun.battle("b1") == a_battle()


def test_a_battle_needs_two_systems_that_are_there(begun: ArenaStore) -> None:
    with pytest.raises(NotFound, match="no system 'new'"):
        begun.add_battle(a_battle("b2", System("new")))
    with pytest.raises(BadFormat, match="meets itself"):
        begun.add_battle(a_battle("b2", SYSTEMS[0], SYSTEMS[0]))
    with pytest.raises(NotFound, match="no battle 'b2'"):
        begun.battle("b2")


def test_a_token_is_good_for_one_vote(begun: ArenaStore) -> None:
    begun.add_battle(a_battle("b2"))
    assert begun.add_vote(a_vote(), "t1")
    assert not begun.add_vote(a_vote(answer="b"), "t1")
    assert not begun.add_vote(a_vote("b2", "bob"), "t1")
    assert not begun.add_vote(a_vote(answer="b"), "t2"), "the same voter with another token"
    assert begun.votes_on("b1") == [a_vote()]
    assert begun.add_vote(a_vote("b2", "bob"), "t2")
    assert begun.votes_on("b2") == [a_vote("b2", "bob")]


def test_a_model_votes_once_a_battle_and_beside_people(begun: ArenaStore) -> None:
    model = Vote("b1", "ann", "model", NOON, "b")
    assert begun.add_vote(a_vote())
    assert begun.add_vote(model)
    assert not begun.add_vote(replace(model, answer="a"))
    another = replace(model, voter="another")
    assert begun.add_vote(another)
    assert begun.votes_on("b1") == [a_vote(), model, another]


@pytest.mark.parametrize(
    ("vote", "kind", "says"),
    [
        (a_vote("b9"), NotFound, "no battle 'b9'"),
        (replace(a_vote(), answer=None, evidence=None), BadFormat, "votes on nothing"),
        (a_vote(voter="a\x00b"), BadFormat, "printable"),
        (a_vote(voter=""), BadFormat, "voter is ''"),
    ],
)
def test_a_vote_that_cannot_be_kept_is_refused(
    begun: ArenaStore, vote: Vote, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        begun.add_vote(vote)
    assert begun.counts().votes == 0


def test_times_of_every_zone_are_kept_in_utc(begun: ArenaStore) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    begun.add_battle(replace(a_battle("b2"), created=datetime(2026, 1, 1, tzinfo=east)))
    begun.add_vote(replace(a_vote(), cast=datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC)))
    assert begun.battle("b2").created.isoformat() == "2025-12-31T18:30:00+00:00"
    (vote,) = begun.votes_on("b1")
    assert vote.cast == datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC)
    assert begun.columns().cast.tolist() == [pytest.approx(-0.999999)]


JUDGED = Vote("b1", "m", "model", NOON, "tie", "b", (), ("a", "a"), ("b", "a"))


def test_what_a_judge_said_in_both_orders_is_kept(begun: ArenaStore, url: str) -> None:
    assert begun.add_vote(JUDGED)
    assert begun.add_vote(a_vote())
    begun.add_battle(a_battle("b2"))
    one = replace(JUDGED, battle_id="b2", answer="tie", answer_orders=("tie", "tie"))
    half = replace(JUDGED, voter="other", answer=None, answer_orders=None)
    assert begun.add_all([one, half, JUDGED]) == Counts(votes=2)
    again = ArenaStore(url)
    assert again.votes_on("b1") == [JUDGED, a_vote(), half]
    assert again.orders("answer") == {"m": [("a", "a"), ("tie", "tie")]}
    assert again.orders("evidence") == {"m": [("b", "a")] * 2, "other": [("b", "a")]}
    again.close()
    for other in (None, ("b", "b")):
        with pytest.raises(ArenaConflict, match="'m' voted otherwise"):
            begun.add_all([replace(JUDGED, answer_orders=other)])


@pytest.mark.parametrize(
    ("vote", "says"),
    [
        (replace(JUDGED, answer="a"), "answer_orders is a, a, which is 'tie' and not 'a'"),
        (replace(JUDGED, answer=None), "answer_orders is a, a, which is 'tie' and not None"),
        (replace(JUDGED, kind="human"), "a model's alone, and this is a human's"),
    ],
)
def test_verdicts_that_do_not_give_the_vote_are_refused(begun: ArenaStore, vote: Vote, says: str) -> None:
    with pytest.raises(BadFormat, match=says):
        begun.add_vote(vote)
    assert begun.counts().votes == 0


def test_a_database_without_verdicts_gets_their_table(begun: ArenaStore, url: str) -> None:
    begun.add_vote(a_vote())
    engine = create_engine(read_url(url))
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE orders"))
    engine.dispose()
    again = ArenaStore(url)
    assert again.votes_on("b1") == [a_vote()]
    assert again.add_vote(JUDGED)
    assert again.orders("answer") == {"m": [("a", "a")]}
    again.close()


@pytest.mark.parametrize("table", ["systems", "battles", "records", "votes", "orders"])
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET {} = {}"])
def test_the_database_refuses_to_change_or_delete(
    begun: ArenaStore, url: str, table: str, change: str
) -> None:
    begun.add_vote(JUDGED)
    engine = create_engine(read_url(url))
    column = {"records": "battle", "orders": "vote"}.get(table, "id")
    with pytest.raises(DBAPIError, match=f"{table} only grows"), engine.begin() as connection:
        connection.execute(text(change.format(table, column, column)))
    engine.dispose()
    assert begun.counts() == Counts(3, 1, 1)


def test_an_error_leaves_nothing_of_a_batch(store: ArenaStore) -> None:
    store.add_systems(SYSTEMS)
    with pytest.raises(NotFound, match="'b9'"):
        store.add_all([a_battle(), a_vote(), a_vote("b9")])
    assert store.counts() == Counts(3, 0, 0)
    assert store.add_all([a_battle(), a_vote()]) == Counts(0, 1, 1)
    assert store.add_all([a_battle(), a_vote(), a_vote(voter="bob")]) == Counts(0, 0, 1)
    with pytest.raises(ArenaConflict, match="'ann' voted otherwise"):
        store.add_all([a_vote(answer="b")])


def test_columns_hold_every_vote(begun: ArenaStore) -> None:
    begun.add_battle(a_battle("b2", SYSTEMS[2], SYSTEMS[0], topics="set"))
    begun.add_vote(a_vote("b2", "bob", None, 1))
    begun.add_vote(a_vote("b1", "ann", "both_bad", 0))
    begun.add_vote(Vote("b1", "bob", "model", NOON, "b"))
    found = begun.columns()
    assert found.systems == SYSTEMS
    assert (found.voters, found.topic_sets) == (("bob", "ann"), ("set",))
    rows = zip(found.a, found.b, found.answer, found.evidence, found.voter, found.topics, strict=True)
    assert [tuple(map(int, row)) for row in rows] == [
        (2, 0, -1, 2, 0, 0),
        (0, 1, 3, 2, 1, -1),
        (0, 1, 1, -1, 0, -1),
    ]
    assert found.by_model.tolist() == [False, False, True]
    assert found.cast.tolist() == [pytest.approx(NOON.timestamp() + late) for late in (60, 0, 0)]
    assert found.style.tolist() == [[[3, 2, 2], [5, 1, 1]]] * 3
    assert len(STYLE) == found.style.shape[2]
    types = [found.a.dtype, found.answer.dtype, found.by_model.dtype, found.cast.dtype, found.style.dtype]
    assert types == [np.int32, np.int8, np.bool_, np.float64, np.int32]


def test_columns_of_an_empty_store(store: ArenaStore) -> None:
    found = store.columns()
    assert (found.systems, found.voters, len(found.a), found.style.shape) == ((), (), 0, (0, 2, 3))
    assert store.version() == 0


def arrays(columns: Columns) -> list[object]:
    return [value.tolist() if isinstance(value, np.ndarray) else value for value in _values(columns)]


def _values(columns: Columns) -> list[object]:
    return [getattr(columns, name) for name in Columns.__dataclass_fields__]


def test_columns_grow_as_votes_come(store: ArenaStore, url: str) -> None:
    store.add_all(many(20))
    first, version = store.columns(), store.version()
    assert store.columns() is first
    new = System("0 new", {"index": "other"})
    other = ArenaStore(url)
    other.add_systems([new])
    assert store.columns().systems == (*SYSTEMS, new)
    other.add_battle(a_battle("n1", new, SYSTEMS[1], topics="odd"))
    other.add_vote(a_vote("n1", "new voter"))
    assert store.version() > version
    grown = store.columns()
    assert len(grown.a) == 21
    assert (int(grown.a[-1]), grown.voters[grown.voter[-1]], grown.topic_sets[grown.topics[-1]]) == (
        3,
        "new voter",
        "odd",
    )
    assert arrays(grown) == arrays(other.columns())
    assert len(first.a) == 20
    other.close()


def test_texts_come_in_an_order_that_can_be_added(store: ArenaStore, tmp_path: Path) -> None:
    store.add_all(many(30))
    copy = ArenaStore(str(tmp_path / "below" / "copy.db"))
    rows: dict[str, Callable[[object], AnyRow]] = {
        "system": system_row,
        "battle": battle_row,
        "vote": vote_row,
    }
    assert copy.add_rows(rows[kind](json.loads(text)) for kind, text in store.texts()) == Counts(3, 30, 30)
    assert list(copy.texts()) == list(store.texts())
    assert arrays(copy.columns()) == arrays(store.columns())
    copy.close()


def test_threads_and_stores_share_a_database(store: ArenaStore, url: str) -> None:
    store.add_all(islice(many(200), 203))
    other = ArenaStore(url)
    recorded: list[bool] = []

    def vote(number: int) -> None:
        one = (store, other)[number % 2]
        recorded.append(one.add_vote(a_vote(f"b{number % 200}", f"v{number}"), f"t{number % 200}"))
        if number % 10 == 0:
            one.columns()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(vote, range(400)))
    assert sorted(recorded) == [False] * 200 + [True] * 200
    assert store.version() == 200
    assert arrays(store.columns()) == arrays(other.columns())
    assert sorted(store.columns().a.tolist()) == sorted(n % 3 for n in range(200))
    other.close()


VOTER = """
import sys, threading
from ragnarok.arena.store import ArenaStore
from tests.ragnarok.arena.battles import a_vote

store, line = ArenaStore(sys.argv[1]), threading.Lock()

def vote(first):
    for number in range(first, 8000, 8):
        if store.add_vote(a_vote("b1", f"v{number}"), f"t{number}"):
            with line:
                print(f"v{number}", flush=True)

for first in range(8):
    threading.Thread(target=vote, args=(first,)).start()
"""


def test_an_acknowledged_vote_survives_a_kill(begun: ArenaStore, url: str) -> None:
    root = Path(__file__).resolve().parents[3]
    words = [sys.executable, "-c", VOTER, url]
    with subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(300)]
        process.send_signal(signal.SIGKILL)
        # What stood in the pipe when it was killed had been acknowledged, too; the last line may be a part.
        *rest, _ = process.stdout.read().split("\n")
    assert process.returncode == -signal.SIGKILL
    again = ArenaStore(url)
    kept = {vote.voter for vote in begun.votes_on("b1")}
    assert kept >= {*acknowledged, *rest}
    assert again.version() == len(kept) <= len({*acknowledged, *rest}) + 8
    assert len(again.columns().a) == len(kept)
    assert again.add_vote(a_vote(voter="afterwards"))
    again.close()


def test_sqlite_waits_for_the_disk(tmp_path: Path) -> None:
    store = ArenaStore(str(tmp_path / "arena.db"))
    with store.database.reading() as connection:
        pragmas = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert pragmas == ["wal", 2, 1, 30_000]
    store.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "has no name"),
        ("sqlite://", "give a file"),
        ("sqlite:///:memory:", "give a file"),
        ("mysql://u:secret@h/db", "not mysql"),
        ("nonsense://u:secret@h/db", "not nonsense"),
        ("postgresql://u:secret@h:port/db", "no URL such as"),
    ],
)
def test_what_names_no_database_is_refused(url: str, says: str) -> None:
    with pytest.raises(BadSetting, match=says) as caught:
        ArenaStore(url)
    assert "secret" not in str(caught.value)


def _no_database(tmp_path: Path) -> str:
    (tmp_path / "arena.db").write_text("This is no database. " * 100)
    return str(tmp_path / "arena.db")


def _a_folder(tmp_path: Path) -> str:
    return str(tmp_path)


def _below_a_file(tmp_path: Path) -> str:
    (tmp_path / "file").touch()
    return str(tmp_path / "file" / "arena.db")


def _not_there(tmp_path: Path) -> str:
    return f"postgresql://arena:secret@/arena?host={tmp_path}"


@pytest.mark.parametrize("place", [_no_database, _a_folder, _below_a_file, _not_there])
def test_a_database_that_cannot_be_used_is_an_error(tmp_path: Path, place: Callable[[Path], str]) -> None:
    with pytest.raises(ArenaUnusable) as caught:
        ArenaStore(place(tmp_path))
    assert str(tmp_path) in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_full_disk_is_named_and_loses_nothing(tmp_path: Path) -> None:
    store = ArenaStore(str(tmp_path / "arena.db"))
    store.add_systems(SYSTEMS)
    with store.database.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
    long = replace(a_battle(), a=replace(an_output(SYSTEMS[0], 100_000)))
    with pytest.raises(DiskFull, match="make room"):
        store.add_battle(long)
    assert store.counts() == Counts(3, 0, 0)
    store.close()
