"""Tiers behind one another, the fastest first."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rerank.store.types import DocumentState, StoreStats, Tally, Tier


class TieredStore:
    """Looks through `tiers` in their order and copies what a slower one holds into the faster ones.

    Writes go to every tier. The tiers' own names serve statistics only.
    """

    def __init__(self, tiers: Mapping[str, Tier]) -> None:
        """Put `tiers`, name to tier, fastest first, behind one another; they are closed with this."""
        self._tiers = dict(tiers)
        self._tally = Tally()

    def get(self, keys: Sequence[str]) -> list[DocumentState | None]:
        """The state of each key, from the fastest tier that holds it."""
        found: dict[str, DocumentState] = {}
        missing = list(dict.fromkeys(keys))
        passed: list[Tier] = []
        for tier in self._tiers.values():
            if not missing:
                break
            answers = zip(missing, tier.get(missing), strict=True)
            fresh = {key: state for key, state in answers if state is not None}
            if fresh:
                for faster in passed:
                    faster.put(fresh)
                found |= fresh
                missing = [key for key in missing if key not in fresh]
            passed.append(tier)
        states = [found.get(key) for key in keys]
        misses = states.count(None)
        self._tally.add(hits=len(states) - misses, misses=misses)
        return states

    def put(self, items: Mapping[str, DocumentState]) -> None:
        """Keep these states in every tier."""
        for tier in self._tiers.values():
            tier.put(items)
        self._tally.add(writes=len(items))

    def stats(self) -> StoreStats:
        """Hits, misses and writes as callers saw them; everything else summed over the tiers."""
        each = self.by_tier().values()
        sizes = [stats.bytes for stats in each if stats.bytes is not None]
        entries = [stats.entries for stats in each if stats.entries is not None]
        return replace(
            self._tally.stats(sum(sizes) if sizes else None, sum(entries) if entries else None),
            evictions=sum(stats.evictions for stats in each),
            corrupt=sum(stats.corrupt for stats in each),
            errors=sum(stats.errors for stats in each),
        )

    def by_tier(self) -> dict[str, StoreStats]:
        """Each tier's own statistics, by its name."""
        return {name: tier.stats() for name, tier in self._tiers.items()}

    def close(self) -> None:
        """Close every tier."""
        for tier in self._tiers.values():
            tier.close()
