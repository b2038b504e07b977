"""What query rows see of themselves, against a naive loop; on a GPU too, where there is one."""

import pytest
import torch

from rerank.late.own import own_mass
from rerank.layout import Layout

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")),
]


@pytest.mark.parametrize("prefix", [0, 1, 70])
@pytest.mark.parametrize("dim", [16, 64, 80])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("device", DEVICES)
def test_equals_a_naive_loop(device: str, dtype: torch.dtype, dim: int, prefix: int) -> None:
    chance = torch.Generator().manual_seed(2)
    first = [0] * 3 + [3] * 60 + [63] + [64] * 41
    query = torch.randn(len(first), 6, dim, generator=chance).to(dtype)
    front, key = (torch.randn(length, 3, dim, generator=chance).to(dtype) for length in (prefix, len(first)))
    heads, scale = [0, 1, 4, 5], dim**-0.5
    place = torch.device(device)
    got = own_mass(
        query.to(place),
        key.to(place),
        front.to(place),
        Layout.of([3, 60, 1, 41], prefix, place),
        torch.tensor([0, 2], device=place),
        scale,
    )[:, heads]
    expected = [
        [
            float(
                (torch.cat([front, key[begin : row + 1]])[:, head // 2].double() @ query[row, head].double())
                .mul(scale)
                .logsumexp(0)
            )
            for head in heads
        ]
        for row, begin in enumerate(first)
    ]
    assert (got.dtype, got.device.type) == (torch.float32, device)
    torch.testing.assert_close(got.cpu().double(), torch.tensor(expected).double(), atol=1e-4, rtol=1e-5)
