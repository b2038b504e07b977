"""How quickly the tiers of the document store answer: documents and megabytes a second.

    python benchmarks/store.py [--documents 400] [--tokens 160] [--groups 4] [--dim 64] [--runs 5]
                               [--batch 20] [--folder FOLDER] [--redis redis://localhost:6379/0]

Each run writes all documents in batches, then reads all of them in another order; medians of the runs.
What is read comes from the system's page cache, as that of any store smaller than the memory does.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from rerank.store.disk import DiskTier
from rerank.store.key import document_key
from rerank.store.record import decode, encode
from rerank.store.redis import RedisTier
from rerank.store.tiers import TieredStore
from rerank.store.types import DocumentState, Tier


def main() -> None:
    """Measure what the arguments ask for, and print one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in {
        "documents": 400,
        "tokens": 160,
        "groups": 4,
        "dim": 64,
        "runs": 5,
        "batch": 20,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument(
        "--folder", type=Path, help="where the disk tier lies; a temporary folder if not given"
    )
    parser.add_argument("--redis", help="URL of a Redis to measure")
    options = parser.parse_args()

    shape = (options.groups, options.tokens, options.dim)
    states = {
        document_key("benchmark", str(i)): DocumentState(torch.randn(shape).bfloat16(), None, torch.randn(64))
        for i in range(options.documents)
    }
    records = {key: encode(key, state) for key, state in states.items()}
    size = sum(map(len, records.values()))
    print(f"{len(states)} documents of {size / len(states) / 1000:.1f} kB, {options.runs} runs, medians")

    texts = [random.randbytes(250).hex() for _ in range(10_000)]
    taken = _median(options.runs, lambda: [document_key("benchmark", text) for text in texts])
    print(f"document_key of 10,000 texts of 500 characters: {taken * 1000:.1f} ms")
    _line(
        "encode", size, len(states), _median(options.runs, lambda: [encode(*item) for item in states.items()])
    )
    _line(
        "decode",
        size,
        len(states),
        _median(options.runs, lambda: [decode(*item) for item in records.items()]),
    )

    with tempfile.TemporaryDirectory() as temporary:
        disk = DiskTier(options.folder or Path(temporary), 2 * size + 2**26)
        _measure("disk", disk, states, size, options.runs, options.batch)
        if options.redis:
            redis = RedisTier(options.redis, 600, "ragnarok:benchmark", 2.0)
            _measure("redis", redis, states, size, options.runs, options.batch)
            both = TieredStore({"redis": redis, "disk": disk})
            _measure("redis, disk", both, states, size, options.runs, options.batch)
            redis.close()
        disk.close()


def _measure(
    name: str, tier: Tier, states: dict[str, DocumentState], size: int, runs: int, batch: int
) -> None:
    items = list(states.items())
    keys = random.sample(list(states), len(states))
    batches = [dict(items[i : i + batch]) for i in range(0, len(items), batch)]
    asked = [keys[i : i + batch] for i in range(0, len(keys), batch)]

    def put() -> None:
        for some in batches:
            tier.put(some)

    def get() -> None:
        for some in asked:
            tier.get(some)

    _line(f"{name}: put", size, len(states), _median(runs, put))
    _line(f"{name}: get", size, len(states), _median(runs, get))
    stats = tier.stats()
    if stats.errors or stats.misses:
        raise SystemExit(f"{name}: these numbers count for nothing, {stats}")


def _median(runs: int, call: Callable[[], object]) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _line(name: str, size: int, documents: int, seconds: float) -> None:
    print(f"{name:18}{documents / seconds:>10,.0f} documents/s{size / seconds / 1e6:>8,.0f} MB/s")


if __name__ == "__main__":
    main()
