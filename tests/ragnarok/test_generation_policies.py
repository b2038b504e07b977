"""Answers written over the caches of attention policies: the same words, the same evidence."""

import pytest
import torch

from ragnarok.generators import LocalGenerator, LocalOptions
from ragnarok.types import Answer, Hit, Passage
from rerank.cache import PrefixCache
from rerank.model import Model, Shape
from rerank.policies import DuoPolicy, FullPolicy, Policy, RazorPolicy, StreamingPolicy
from rerank.support import PassageMass

TEXTS = [
    "The tower is in Paris. It was built in 1889 by an engineer, for a world's fair.",
    "Bananas are rich in potassium. They grow in warm places all over the world.",
]
MIXED = ((True, False), (False, False), (True, True), (False, True))


class Stock(Policy):
    """Not a policy: the cache that everything else reads with."""

    name = "stock"
    window = FullPolicy().window

    def full(self, shape: Shape) -> tuple[tuple[bool, ...], ...]:
        return FullPolicy().full(shape)

    def cache(self, shape: Shape, capacity: int) -> PrefixCache:
        return PrefixCache(shape.layers, capacity)


def answer(model: Model, policy: Policy) -> Answer:
    hits = [Hit(f"d{n}", 1 / n, n, Passage(f"d{n}", text)) for n, text in enumerate(TEXTS, start=1)]
    options = LocalOptions(max_tokens=40, support=0.5, policy=policy)
    *_, last = LocalGenerator(model, options).stream("where is the tower?", hits)
    assert isinstance(last, Answer)
    return last


@pytest.mark.parametrize(
    "policy",
    [FullPolicy(), StreamingPolicy(4, 2000), DuoPolicy(MIXED, recent=2000), RazorPolicy(MIXED)],
    ids=lambda policy: policy.name,
)
def test_where_nothing_is_dropped_an_answer_stays_the_same(policy: Policy, small: Model) -> None:
    assert answer(small, policy) == answer(small, Stock())


def test_what_a_head_has_let_go_of_supports_nothing(small: Model) -> None:
    tokens = [7 + place * 31 % 380 for place in range(90)]
    spans = [(0, 4), (4, 60), (70, 85)]
    masses = {}
    for policy in (StreamingPolicy(4, 20), FullPolicy()):
        cache, mass = policy.cache(small.shape, 95), PassageMass(spans)
        small.read(tokens, cache)
        for token in (3, 4):
            small.read([token], cache, mass)
        masses[policy.name] = mass.rows()
    assert masses["streaming"].shape == (2, 3)
    assert masses["streaming"][:, 1].tolist() == [0, 0]
    assert bool((masses["streaming"][:, [0, 2]] > 0).all())
    assert bool((masses["full"] > 0).all())
    # Every layer's heads spend all their attention on the three spans and what lies between and after them.
    assert bool((masses["streaming"].sum(1) < torch.tensor(24.0)).all())


def test_an_answer_over_a_small_window_is_still_an_answer(small: Model) -> None:
    written = answer(small, DuoPolicy(MIXED, sinks=4, recent=16))
    assert set(written.references) <= {"d1", "d2"}
