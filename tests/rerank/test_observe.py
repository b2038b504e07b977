"""Attention weights against the definition, one row and head at a time."""

import math

import pytest
import torch

from rerank.observe import attention_weights

HEADS, KV_HEADS, ROWS, KEYS, DIM = 4, 2, 3, 5, 2


def naive(
    query: torch.Tensor, key: torch.Tensor, seen: list[list[bool]], scaling: float, softcap: float | None
) -> list[list[list[float]]]:
    """`[heads][rows][keys]`; `seen` says which key a row may look at."""
    weights = []
    for head in range(HEADS):
        rows = []
        for row in range(ROWS):
            logits = []
            for place in range(KEYS):
                shared = key[0, head * KV_HEADS // HEADS, place].tolist()
                logit = scaling * sum(
                    a * b for a, b in zip(query[0, head, row].tolist(), shared, strict=True)
                )
                logit = logit if softcap is None else softcap * math.tanh(logit / softcap)
                logits.append(logit if seen[row][place] else -math.inf)
            total = sum(map(math.exp, logits))
            rows.append([math.exp(logit) / total for logit in logits])
        weights.append(rows)
    return weights


CAUSAL = [[place <= KEYS - ROWS + row for place in range(KEYS)] for row in range(ROWS)]
SLIDING = [[seen and place > row for place, seen in enumerate(places)] for row, places in enumerate(CAUSAL)]


@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("kind", ["none", "boolean", "additive", "longer"])
def test_equals_the_definition(kind: str, softcap: float | None) -> None:
    generator = torch.Generator().manual_seed(3)
    query = torch.randn(1, HEADS, ROWS, DIM, generator=generator)
    key = torch.randn(1, KV_HEADS, KEYS, DIM, generator=generator)
    seen = CAUSAL if kind == "none" else SLIDING
    boolean = torch.tensor(seen)[None, None]
    additive = torch.zeros(boolean.shape).masked_fill(~boolean, torch.finfo(torch.float32).min)
    mask = {
        "none": None,
        "boolean": boolean,
        "additive": additive,
        # A mask made for a larger cache: what lies beyond the keys does not count.
        "longer": torch.cat([boolean, torch.ones_like(boolean)], dim=-1),
    }[kind]
    got = attention_weights(query, key, mask, 0.7, softcap)
    assert got.dtype == torch.float32
    expected = torch.tensor(naive(query, key, seen, 0.7, softcap))
    torch.testing.assert_close(got[0], expected, atol=1e-6, rtol=0)


def test_half_precision_is_computed_in_single() -> None:
    query, key = (torch.randn(1, 2, 3, 8, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    half = attention_weights(query.bfloat16(), key.bfloat16(), None, 1.0)
    assert half.dtype == torch.float32
    same = attention_weights(query.bfloat16().float(), key.bfloat16().float(), None, 1.0)
    assert torch.equal(half, same)
    torch.testing.assert_close(half.sum(-1), torch.ones(1, 2, 3), atol=1e-6, rtol=0)
