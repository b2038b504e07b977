"""The document store: one contract for every tier, its record format, and what happens when things break."""

import multiprocessing
import os
import resource
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis, RedisError

from rerank.errors import StoreUnusable
from rerank.store.disk import FILE, MIN_BYTES, DiskTier
from rerank.store.key import document_key, scope_key
from rerank.store.record import CorruptState, decode, encode
from rerank.store.redis import VALUE_BYTES, RedisTier
from rerank.store.tiers import TieredStore
from rerank.store.types import DTYPES, DocumentState, StoreStats, Tally, Tier

# Processes with nothing of this one's in them, which import torch once for all.
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(["torch"])


def make(seed: int = 0, tokens: int = 5, dtype: torch.dtype = torch.bfloat16, dim: int = 8) -> DocumentState:
    chance = torch.Generator().manual_seed(seed)
    keys = torch.randn(2, tokens, dim, generator=chance)
    scales = torch.rand(2, tokens, generator=chance) if dtype == torch.int8 else None
    kept = (keys * 40).to(dtype) if dtype == torch.int8 else keys.to(dtype)
    return DocumentState(kept, scales, torch.randn(3, generator=chance), cut=seed % 2 == 1)


def large(seed: int) -> DocumentState:
    """About 100 kB."""
    return make(seed, tokens=400, dim=64)


def same(a: DocumentState | None, b: DocumentState | None) -> bool:
    if a is None or b is None:
        return a is b
    if (a.scales is None) != (b.scales is None) or a.keys.dtype != b.keys.dtype or a.cut != b.cut:
        return False
    scaled = a.scales is None or b.scales is None or torch.equal(a.scales, b.scales)
    return scaled and torch.equal(a.keys, b.keys) and torch.equal(a.null, b.null)


def name(number: int) -> str:
    return document_key("scope", str(number))


class MemoryTier:
    """A tier in a dict."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}
        self._tally = Tally()

    def get(self, keys: Sequence[str]) -> list[DocumentState | None]:
        states = [self._one(key) for key in keys]
        misses = states.count(None)
        self._tally.add(hits=len(states) - misses, misses=misses)
        return states

    def _one(self, key: str) -> DocumentState | None:
        try:
            return decode(key, self.records[key]) if key in self.records else None
        except CorruptState:
            del self.records[key]
            self._tally.add(corrupt=1)
            return None

    def put(self, items: Mapping[str, DocumentState]) -> None:
        self.records |= {key: encode(key, state) for key, state in items.items()}
        self._tally.add(writes=len(items))

    def stats(self) -> StoreStats:
        return self._tally.stats(sum(map(len, self.records.values())), len(self.records))

    def close(self) -> None:
        self.records.clear()


class Server:
    """A Redis of our own, without persistence."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self.start()

    def start(self, *options: str) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.skip("no redis-server here: sh tests/setup-system.sh installs it on Debian")
        plain = ["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--dir", str(self._folder)]
        self.process = subprocess.Popen(
            [binary, "--port", str(self.port), *plain, *options], stdout=subprocess.DEVNULL
        )
        for _ in range(500):
            with Redis.from_url(self.url) as probe:
                try:
                    probe.ping()
                except RedisError:
                    time.sleep(0.01)
                else:
                    return
        raise AssertionError("redis-server does not answer")

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(how)
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """One that the test may break."""
    server = Server(tmp_path)
    yield server
    server.stop()


@dataclass
class Place:
    """A tier, and the way to put arbitrary bytes where it keeps a key."""

    tier: Tier
    spoil: Callable[[str, bytes], None]


def spoil_disk(folder: Path, key: str, record: bytes) -> None:
    with sqlite3.connect(folder / FILE) as db:
        db.execute(
            "UPDATE records SET record = ? WHERE id = (SELECT id FROM uses WHERE key = ?)", (record, key)
        )
    db.close()


@pytest.fixture(params=["memory", "disk", "redis", "tiered"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    memory, slow = MemoryTier(), MemoryTier()
    tier: Tier
    if request.param == "disk":
        tier = DiskTier(tmp_path, MIN_BYTES)
        made = Place(tier, lambda key, record: spoil_disk(tmp_path, key, record))
    elif request.param == "redis":
        url, space = request.getfixturevalue("server").url, tmp_path.name
        tier = RedisTier(url, 60, space)
        made = Place(tier, lambda key, record: redis_set(url, f"{space}:{key}", record))
    elif request.param == "tiered":

        def spoil_both(key: str, record: bytes) -> None:
            for part in (memory, slow):
                part.records[key] = record

        made = Place(TieredStore({"fast": memory, "slow": slow}), spoil_both)
    else:
        made = Place(memory, lambda key, record: memory.records.update({key: record}))
    yield made
    made.tier.close()


def redis_set(url: str, key: str, value: bytes) -> None:
    with Redis.from_url(url) as client:
        client.set(key, value)


class TestContract:
    """What holds for every tier."""

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_returns_what_was_put(self, place: Place, dtype: torch.dtype) -> None:
        states = {name(i): make(i, tokens=i, dtype=dtype) for i in range(40)}
        place.tier.put(states)
        assert all(map(same, place.tier.get(list(states)), states.values()))

    def test_answers_in_the_order_asked(self, place: Place) -> None:
        place.tier.put({name(i): make(i) for i in (1, 2)})
        found = place.tier.get([name(2), name(9), name(1), name(2)])
        assert all(map(same, found, [make(2), None, make(1), make(2)]))
        stats = place.tier.stats()
        assert (stats.hits, stats.misses, stats.writes, stats.errors) == (3, 1, 2, 0)

    def test_nothing_is_asked_or_put(self, place: Place) -> None:
        place.tier.put({})
        assert place.tier.get([]) == []

    def test_replaces(self, place: Place) -> None:
        place.tier.put({name(1): make(1)})
        place.tier.put({name(1): make(2)})
        assert same(place.tier.get([name(1)])[0], make(2))

    def test_states_can_be_written_to_without_harm(self, place: Place) -> None:
        place.tier.put({name(1): make(1)})
        for _ in range(2):
            [state] = place.tier.get([name(1)])
            assert same(state, make(1))
            assert state is not None
            state.keys.zero_()

    @pytest.mark.parametrize(
        "record", [b"", b"foreign", encode(name(2), make(1)), encode(name(1), make(1))[:-1]]
    )
    def test_damage_is_a_miss_and_forgotten(self, place: Place, record: bytes) -> None:
        place.tier.put({name(1): make(1), name(3): make(3)})
        place.spoil(name(1), record)
        assert all(map(same, place.tier.get([name(1), name(3)]), [None, make(3)]))
        dropped = place.tier.stats().corrupt
        assert dropped >= 1
        assert place.tier.get([name(1)]) == [None]
        assert place.tier.stats().corrupt == dropped
        place.tier.put({name(1): make(1)})
        assert same(place.tier.get([name(1)])[0], make(1))

    def test_threads(self, place: Place) -> None:
        def work(first: int) -> None:
            for i in range(first, first + 20):
                place.tier.put({name(i): make(i)})
                found.append(same(place.tier.get([name(i)])[0], make(i)))

        found: list[bool] = []
        threads = [threading.Thread(target=work, args=(100 * i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [True] * 80
        assert place.tier.stats().hits == 80


def test_key_depends_on_everything() -> None:
    scopes = {
        scope_key("model", "profile", "prompt", "bfloat16", 512),
        scope_key("other", "profile", "prompt", "bfloat16", 512),
        scope_key("model", "other", "prompt", "bfloat16", 512),
        scope_key("model", "profile", "other", "bfloat16", 512),
        scope_key("model", "profile", "prompt", "int8", 512),
        scope_key("model", "profile", "prompt", "bfloat16", 511),
        scope_key("mode", "lprofile", "prompt", "bfloat16", 512),
    }
    keys = {document_key(scope, text) for scope in scopes for text in ("a", "b", "", "\ud800")}
    assert len(keys) == 7 * 4
    assert document_key("ab", "c") != document_key("a", "bc")
    assert {len(key) for key in keys} == {32}


def test_key_is_stable() -> None:
    """A change here makes every store forget everything."""
    assert scope_key("model", "profile", "prompt", "bfloat16", 512) == "cda06727e8faa7d72b9612456b14c775"
    assert document_key("scope", "text") == "536a779a00c0c9e387d3e2dbfc97e396"


@given(
    groups=st.integers(0, 4),
    tokens=st.integers(0, 9),
    dim=st.sampled_from([1, 3, 8]),
    signals=st.integers(0, 5),
    dtype=st.sampled_from(DTYPES),
    cut=st.booleans(),
    key=st.text(max_size=40, alphabet=st.characters(exclude_categories=["Cs"])),
)
def test_record_holds_every_shape(
    groups: int, tokens: int, dim: int, signals: int, dtype: torch.dtype, cut: bool, key: str
) -> None:
    keys = torch.arange(groups * tokens * dim).view(groups, tokens, dim).to(dtype)
    scales = torch.rand(groups, tokens) if dtype == torch.int8 else None
    state = DocumentState(keys, scales, torch.rand(signals), cut)
    assert same(decode(key, encode(key, state)), state)


RECORD = encode(name(1), make(1, dtype=torch.int8))


@settings(max_examples=400)
@given(data=st.data(), change=st.integers(1, 255))
def test_any_flipped_byte_is_found(data: st.DataObject, change: int) -> None:
    region = data.draw(st.sampled_from([(0, 4), (4, 8), (8, 24), (24, 28), (28, 64), (64, len(RECORD))]))
    at = data.draw(st.integers(region[0], region[1] - 1))
    with pytest.raises(CorruptState):
        decode(name(1), RECORD[:at] + bytes([RECORD[at] ^ change]) + RECORD[at + 1 :])


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda b: RECORD[:28] + b))
def test_foreign_bytes_are_found(blob: bytes) -> None:
    with pytest.raises(CorruptState):
        decode(name(1), blob)


@given(st.integers(0, len(RECORD) - 1))
def test_truncation_is_found(size: int) -> None:
    with pytest.raises(CorruptState):
        decode(name(1), RECORD[:size])


@pytest.mark.parametrize("sizes", [(2**32 - 1,) * 4, (2**32 - 1, 1, 1, 3), (0, 2**32 - 1, 2**32 - 1, 3)])
def test_absurd_sizes_allocate_nothing(sizes: tuple[int, ...]) -> None:
    """Even under a right checksum."""
    head = RECORD[:8] + struct.pack("<4I", *sizes)
    blob = head + struct.pack("<I", zlib.crc32(RECORD[28:], zlib.crc32(head))) + RECORD[28:]
    with pytest.raises(CorruptState):
        decode(name(1), blob)


def test_record_is_as_documented() -> None:
    state = DocumentState(torch.tensor([[[1.0, -2.0]]]).half(), None, torch.tensor([0.5]), cut=True)
    blob = encode("k", state)
    head = b"RDoc\x01\x01\x01\x01" + struct.pack("<4I", 1, 1, 2, 1)
    body = b"k" + bytes(3) + struct.pack("<f", 0.5) + struct.pack("<2e", 1, -2)
    assert blob == head + struct.pack("<I", zlib.crc32(head + body)) + body


@pytest.mark.parametrize(
    "parts",
    [
        (torch.zeros(2, 3), None, torch.zeros(1)),
        (torch.zeros(2, 3, 4).double(), None, torch.zeros(1)),
        (torch.zeros(2, 3, 4).char(), None, torch.zeros(1)),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3), torch.zeros(1)),
        (torch.zeros(2, 3, 4).char(), torch.zeros(2, 4), torch.zeros(1)),
        (torch.zeros(2, 3, 4), None, torch.zeros(1).double()),
    ],
)
def test_no_state_of_wrong_shape(parts: tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"scales|null"):
        DocumentState(*parts)


def used_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_disk_stays_within_its_bound_and_keeps_what_is_used(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, MIN_BYTES)
    tier.put({name(0): large(0)})
    most = 0
    for i in range(1, 200):
        tier.put({name(i): large(i)})
        assert same(tier.get([name(0)])[0], large(0)), f"forgotten after {i}"
        most = max(most, used_bytes(tmp_path))
    stats = tier.stats()
    assert most <= MIN_BYTES
    assert stats.entries is not None
    assert 40 < stats.entries == 200 - stats.evictions
    assert stats.bytes is not None
    assert 4_000_000 < stats.bytes <= MIN_BYTES
    assert tier.get([name(199), name(1)])[1] is None
    tier.close()


def test_disk_makes_room_for_many_small_ones_at_once(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, MIN_BYTES)
    tier.put({name(i): make(i) for i in range(3_000)})
    tier.put({name(i): large(i) for i in range(80)})
    tier.put({name(i): make(i) for i in range(3_000)})
    assert used_bytes(tmp_path) <= MIN_BYTES
    assert same(tier.get([name(2_999)])[0], make(2_999))
    tier.close()


def test_disk_refuses_what_is_too_large(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, MIN_BYTES)
    tier.put({name(0): make(0, tokens=5_000, dim=64), name(1): make(1)})
    assert [state is None for state in tier.get([name(0), name(1)])] == [True, False]
    assert tier.stats().errors == 1
    tier.close()


def test_disk_shrinks_to_a_lower_bound(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, 4 * MIN_BYTES)
    tier.put({name(i): large(i) for i in range(200)})
    tier.close()
    assert used_bytes(tmp_path) > 2 * MIN_BYTES
    tier = DiskTier(tmp_path, MIN_BYTES)
    assert same(tier.get([name(199)])[0], large(199))
    tier.close()
    assert used_bytes(tmp_path) <= MIN_BYTES


def test_disk_survives_reopening(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path / "new" / "folder", MIN_BYTES)
    tier.put({name(1): make(1)})
    tier.close()
    tier = DiskTier(tmp_path / "new" / "folder", MIN_BYTES)
    assert same(tier.get([name(1)])[0], make(1))
    tier.close()


def write_some(folder: Path, first: int, count: int) -> None:
    tier = DiskTier(folder, 8 * MIN_BYTES)
    for i in range(first, first + count):
        tier.put({name(i): make(i)})
    if tier.stats().errors:
        raise AssertionError(tier.stats())
    tier.close()


def write_for_ever(folder: Path) -> None:
    tier = DiskTier(folder, MIN_BYTES)
    i = 0
    while True:
        tier.put({name(j % 150): large(j % 150) for j in range(i, i + 5)})
        i += 5
        (folder / "going").touch()


def test_two_processes_make_and_write_one_disk_store(tmp_path: Path) -> None:
    writers = [FRESH.Process(target=write_some, args=(tmp_path, 100 * i, 100)) for i in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    tier = DiskTier(tmp_path, 8 * MIN_BYTES)
    assert all(map(same, tier.get([name(i) for i in range(200)]), [make(i) for i in range(200)]))
    tier.close()


def test_a_store_made_by_another_while_this_one_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = threading.Thread(target=lambda: DiskTier(tmp_path, MIN_BYTES).close())
    number = DiskTier._number

    def slow(self: DiskTier, pragma: str) -> int:
        found = number(self, pragma)
        if threading.current_thread() is threading.main_thread() and not other.ident:
            other.start()
            other.join(0.5)
        return found

    monkeypatch.setattr(DiskTier, "_number", slow)
    tier = DiskTier(tmp_path, MIN_BYTES)
    other.join()
    tier.put({name(1): make(1)})
    assert same(tier.get([name(1)])[0], make(1))
    tier.close()


def test_disk_survives_kill_in_the_middle(tmp_path: Path) -> None:
    mine = DiskTier(tmp_path, MIN_BYTES)
    writer = FRESH.Process(target=write_for_ever, args=(tmp_path,))
    writer.start()
    while not (tmp_path / "going").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    writer.kill()
    writer.join()
    for tier in (mine, DiskTier(tmp_path, MIN_BYTES)):
        found = tier.get([name(i) for i in range(150)])
        assert sum(state is not None for state in found) > 5
        assert all(state is None or same(state, large(i)) for i, state in enumerate(found))
        tier.put({name(1000): make(1000)})
        assert same(tier.get([name(1000)])[0], make(1000))
        assert (tier.stats().corrupt, tier.stats().errors) == (0, 0)
        tier.close()


def test_disk_that_is_full_is_no_error_of_the_caller(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, 8 * MIN_BYTES)
    tier.put({name(0): large(0)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        for i in range(1, 30):
            tier.put({name(i): large(i)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    stats = tier.stats()
    assert stats.errors > 0
    assert stats.writes + stats.errors == 30
    assert same(tier.get([name(0)])[0], large(0))
    tier.put({name(99): large(99)})
    assert same(tier.get([name(99)])[0], large(99))
    tier.close()


def test_disk_pages_that_are_damaged_empty_the_store(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, MIN_BYTES)
    tier.put({name(i): make(i) for i in range(500)})
    tier.close()
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:8192] + os.urandom(path.stat().st_size - 8192))
    tier = DiskTier(tmp_path, MIN_BYTES)
    assert tier.get([name(1), name(2)]) == [None, None]
    assert tier.stats().corrupt > 0
    tier.put({name(1): make(1)})
    assert same(tier.get([name(1)])[0], make(1))
    assert tier.stats().entries == 1
    tier.close()


def test_disk_that_is_locked_is_a_counted_miss(tmp_path: Path) -> None:
    tier = DiskTier(tmp_path, MIN_BYTES)
    other = sqlite3.connect(tmp_path / FILE)
    other.execute("BEGIN IMMEDIATE")
    tier.put({name(1): make(1)})
    assert tier.get([name(1)]) == [None]
    assert tier.stats().errors == 1
    other.close()
    tier.close()


def a_file(folder: Path) -> Path:
    (folder / "file").write_text("text")
    return folder / "file"


def a_folder_in_its_place(folder: Path) -> Path:
    (folder / FILE).mkdir()
    return folder


def another_kind(folder: Path) -> Path:
    (folder / FILE).write_text("a text, and no database" * 1000)
    return folder


def another_database(folder: Path) -> Path:
    with sqlite3.connect(folder / FILE) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    return folder


@pytest.mark.parametrize("prepare", [a_file, a_folder_in_its_place, another_kind, another_database])
def test_disk_that_is_unusable_says_so(tmp_path: Path, prepare: Callable[[Path], Path]) -> None:
    folder = prepare(tmp_path)
    with pytest.raises(StoreUnusable, match="Name another folder"):
        DiskTier(folder, MIN_BYTES)
    with pytest.raises(StoreUnusable, match="at least"):
        DiskTier(tmp_path, MIN_BYTES - 1)


def test_redis_values_expire(server: Server) -> None:
    tier = RedisTier(server.url, 1, "expiring")
    tier.put({name(1): make(1)})
    with Redis.from_url(server.url) as client:
        assert 0 < client.pttl(f"expiring:{name(1)}") <= 1000
    tier.close()


def test_redis_refuses_what_is_too_large(server: Server) -> None:
    tier = RedisTier(server.url, 60, "large")
    tier.put({name(0): make(0, tokens=VALUE_BYTES // 4, dim=1, dtype=torch.float32), name(1): make(1)})
    assert [state is None for state in tier.get([name(0), name(1)])] == [True, False]
    assert tier.stats().errors == 1
    tier.close()


def test_redis_values_of_another_type_are_misses(server: Server) -> None:
    with Redis.from_url(server.url) as client:
        client.rpush(f"typed:{name(1)}", "x")
    tier = RedisTier(server.url, 60, "typed")
    tier.put({name(2): make(2)})
    assert all(map(same, tier.get([name(1), name(2)]), [None, make(2)]))
    tier.close()


def test_redis_that_is_full_refuses_values_only(own_server: Server) -> None:
    with Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 2_000_000)
    tier = RedisTier(own_server.url)
    tier.put({name(i): large(i) for i in range(60)})
    stats = tier.stats()
    assert stats.writes > 5
    assert stats.writes + stats.errors == 60
    assert stats.entries == stats.writes
    assert same(tier.get([name(0)])[0], large(0))
    tier.close()


def test_redis_killed_in_the_middle_and_back(own_server: Server, tmp_path: Path) -> None:
    disk, memory = DiskTier(tmp_path, 4 * MIN_BYTES), MemoryTier()
    redis = RedisTier(own_server.url, timeout=0.3, pause=0.5)
    store = TieredStore({"redis": redis, "disk": disk, "memory": memory})
    states = {name(i): large(i) for i in range(60)}
    store.put(states)
    killer = threading.Timer(0.05, own_server.stop)
    killer.start()
    while killer.is_alive():
        assert None not in store.get(list(states))
    started = time.monotonic()
    for key, state in states.items():
        store.put({key: state})
        assert same(store.get([key])[0], state)
    assert time.monotonic() - started < 5
    assert store.by_tier()["redis"].errors >= 1
    assert store.by_tier()["redis"].entries is None
    own_server.start()
    time.sleep(0.6)
    store.put(states)
    assert None not in redis.get(list(states))
    store.close()


def test_redis_that_hangs_costs_one_timeout(own_server: Server) -> None:
    tier = RedisTier(own_server.url, timeout=0.3, pause=60)
    states = {name(i): large(i) for i in range(40)}
    tier.put(states)
    own_server.process.send_signal(signal.SIGSTOP)
    started = time.monotonic()
    for _ in range(20):
        assert tier.get(list(states)) == [None] * 40
        tier.put(states)
    waited = time.monotonic() - started
    own_server.process.send_signal(signal.SIGCONT)
    assert 0.25 < waited < 0.3 * 2 + 0.5
    assert tier.stats().errors == 1
    tier.close()


def test_redis_that_was_never_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        tier = RedisTier(f"redis://127.0.0.1:{taken.getsockname()[1]}/0", timeout=0.2)
        tier.put({name(1): make(1)})
        assert tier.get([name(1)]) == [None]
        assert tier.stats().errors == 1
        tier.close()


def test_redis_address_that_cannot_be() -> None:
    with pytest.raises(StoreUnusable, match="redis://HOST") as raised:
        RedisTier("http://user:secret@host")
    assert "secret" not in str(raised.value)
    with pytest.raises(StoreUnusable, match="ttl 0"):
        RedisTier("redis://localhost", ttl=0)


def test_tiers_promote_and_say_who_did_what() -> None:
    fast, middle, slow = MemoryTier(), MemoryTier(), MemoryTier()
    store = TieredStore({"fast": fast, "middle": middle, "slow": slow})
    slow.put({name(1): make(1)})
    middle.put({name(2): make(2)})
    assert all(map(same, store.get([name(1), name(2), name(3)]), [make(1), make(2), None]))
    assert fast.records.keys() == middle.records.keys() == {name(1), name(2)}
    assert slow.records.keys() == {name(1)}
    store.get([name(1), name(2)])
    assert slow.stats().hits + slow.stats().misses == 2
    assert (store.stats().hits, store.stats().misses, store.stats().entries) == (4, 1, 5)
    assert store.by_tier()["fast"].hits == 2
