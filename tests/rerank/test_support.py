"""The passages behind a sentence, by hand."""

import pytest
import torch

from rerank.support import PassageMass, supporting


def weights(*heads: list[float]) -> torch.Tensor:
    """One layer's weights, `[1, heads, 2, keys]`: the last row counts, the one before it must not."""
    last = torch.tensor(heads)
    return torch.stack([torch.full_like(last, 9.0), last], dim=1)[None]


def test_mass_is_summed_over_layers_heads_and_tokens_of_the_last_row() -> None:
    mass = PassageMass([(1, 3), (3, 4)])
    mass.see(0, weights([0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]))
    mass.see(1, weights([0.0, 0.0, 0.5, 0.5], [1.0, 0.0, 0.0, 0.0]))
    mass.see(0, weights([0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]))
    # First call: (.2 + .3 + .3 + .2) + .5, and .4 + .1 + .5; the second has one layer.
    assert mass.rows().tolist() == [pytest.approx([1.5, 1.0]), pytest.approx([1.0, 1.0])]
    assert mass.rows().shape == (2, 2), "asking again adds nothing"


def test_rows_may_be_asked_for_between_calls() -> None:
    mass = PassageMass([(0, 1)])
    assert mass.rows().shape == (0, 1)
    mass.see(0, weights([0.25, 0.75]))
    assert mass.rows().tolist() == [[0.25]]
    mass.see(0, weights([0.5, 0.5]))
    assert mass.rows().tolist() == [[0.25], [0.5]]


def test_passages_above_their_even_share_support_a_sentence_best_first() -> None:
    # Means 1, 3, 2 of 6 in all: shares of 0.5, 1.5 and 1 even shares.
    rows = torch.tensor([[0.0, 2.0, 4.0], [2.0, 4.0, 0.0]])
    assert supporting(rows, 1.5) == (1,)
    assert supporting(rows, 1.0) == (1, 2)
    assert supporting(rows, 0.5) == (1, 2, 0)
    assert supporting(rows, 1.51) == ()


def test_no_tokens_and_no_attention_support_nothing() -> None:
    assert supporting(torch.zeros(0, 3), 1) == ()
    assert supporting(torch.zeros(2, 3), 0) == ()
