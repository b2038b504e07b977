"""The score of late attention against a naive loop; on a GPU too, where there is one."""

import numpy as np
import pytest
import torch
from torch import Tensor

from rerank.late.documents import quantised
from rerank.late.match import match, move_pages
from rerank.late.types import PAGE, Pages, Rows

LENGTHS = [1, 2 * PAGE, 3 * PAGE + 5, PAGE - 1, PAGE + 1, 150]
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")),
]
DTYPES = [torch.float32, torch.bfloat16, torch.int8]


class Case:
    """Documents in scattered pages behind an unused slot 0, and three queries of 3, 1 and 40 rows.

    Group 0 has three heads, group 1 one, group 2 two.
    """

    def __init__(self, device: str, dtype: torch.dtype, dim: int) -> None:
        chance = torch.Generator().manual_seed(1)
        self.keys = [torch.randn(length, 3, dim, generator=chance) * 2 for length in LENGTHS]
        width = max(-(-length // PAGE) for length in LENGTHS)
        free = torch.randperm(len(LENGTHS) * width, generator=chance).tolist()
        # What lies in pages beyond a document's end must not count.
        held = torch.full((len(free) * PAGE, 3, dim), 99.0)
        table = torch.zeros(len(LENGTHS) + 1, width, dtype=torch.int32)
        for slot, keys in enumerate(self.keys, start=1):
            for page in range(-(-len(keys) // PAGE)):
                table[slot, page] = free.pop()
                part = keys[page * PAGE : (page + 1) * PAGE]
                held[int(table[slot, page]) * PAGE :][: len(part)] = part
        vectors = torch.randn(44, 6, dim, generator=chance)
        coefficients = torch.randn(44, 6, generator=chance)
        scales: Tensor | None = None
        if dtype == torch.int8:
            held, scales = quantised(held)
            restored = [quantised(keys) for keys in self.keys]
            self.keys = [keys * scale[..., None] for keys, scale in restored]
        else:
            held, vectors = held.to(dtype), vectors.to(dtype)
            self.keys = [keys.to(dtype) for keys in self.keys]
        place = torch.device(device)
        lengths = torch.tensor([0, *LENGTHS], dtype=torch.int32)
        self.pages = Pages(
            held.to(place), None if scales is None else scales.to(place), table.to(place), lengths.to(place)
        )
        self.rows = Rows(vectors.to(place), coefficients.to(place), [0, 3, 4, 44], [0, 3, 4, 6], dim**-0.5)

    def naive(self, query: int, slot: int) -> float:
        vectors, coefficients = self.rows.vectors.double().cpu(), self.rows.coefficients.double().cpu()
        keys = self.keys[slot - 1].double()
        total = 0.0
        for row in range(self.rows.starts[query], self.rows.starts[query + 1]):
            for head, group in enumerate([0, 0, 0, 1, 2, 2]):
                logits = keys[:, group] @ vectors[row, head] * self.rows.scale
                total += float(coefficients[row, head] * logits.exp().sum().log())
        return total


@pytest.mark.parametrize("dim", [16, 64, 80])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("device", DEVICES)
def test_equals_a_naive_loop(device: str, dtype: torch.dtype, dim: int) -> None:
    case = Case(device, dtype, dim)
    queries = np.array([0] * 6 + [1] * 3 + [2] * 6 + [1], np.int32)
    slots = np.array([1, 2, 3, 4, 5, 6, 6, 6, 1, 6, 5, 4, 3, 2, 1, 2], np.int32)
    expected = [case.naive(int(query), int(slot)) for query, slot in zip(queries, slots, strict=True)]
    got = match(case.rows, case.pages, queries, slots)
    assert (got.dtype, got.device.type) == (torch.float32, device)
    assert got.tolist() == pytest.approx(expected, abs=2e-4, rel=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_a_pair_scores_the_same_in_any_company(device: str) -> None:
    case = Case(device, torch.float32, 64)
    every = np.arange(1, 7, dtype=np.int32)
    together = match(case.rows, case.pages, every * 0 + 2, every).tolist()
    alone = [match(case.rows, case.pages, np.array([2], np.int32), every[i : i + 1]).item() for i in range(6)]
    assert together == pytest.approx(alone, abs=1e-5, rel=1e-6)


def test_int8_keys_are_off_by_at_most_a_254th_of_the_largest() -> None:
    keys = torch.randn(50, 3, 64, generator=torch.Generator().manual_seed(2))
    keys[0] = 0
    bytes_, scales = quantised(keys)
    assert bytes_.dtype == torch.int8
    error = (bytes_ * scales[..., None] - keys).abs().amax(-1)
    assert (error <= keys.abs().amax(-1) / 254 * 1.0001).all()
    assert not bytes_[0].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("device", DEVICES)
def test_pages_are_moved(device: str, dtype: torch.dtype) -> None:
    source = (torch.arange(10 * PAGE * 3 * 5) % 100).view(10 * PAGE, 3, 5).to(dtype)
    if device == "cuda":
        source = source.pin_memory()
    target = torch.zeros(12 * PAGE, 3, 5, dtype=dtype, device=device)
    move_pages(source, target, np.array([9, 2, 4]), np.array([0, 11, 3]))
    found = target.view(12, -1).cpu()
    assert torch.equal(found[[0, 11, 3]], source.view(10, -1)[[9, 2, 4]])
    assert not found[[1, 2, 4, 5, 6, 7, 8, 9, 10]].any()
    move_pages(source, target, np.zeros(0, np.int64), np.zeros(0, np.int64))
