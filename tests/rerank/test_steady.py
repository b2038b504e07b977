"""Products whose rows do not depend on each other's number: on a GPU, in the shapes of real models."""

import threading

import pytest
import torch

from rerank.steady import steady

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@gpu
@pytest.mark.parametrize("bias", [False, True], ids=["", "with a bias"])
@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        (4864, 896),
        (896, 1152),
        (8960, 1536),
        (1536, 2048),
        (14_336, 4096),
        (4096, 6144),
        (4096, 1024),
        (1536, 576),
    ],
)
def test_a_row_comes_out_alike_alone_and_among_many(inner: int, outer: int, bias: bool) -> None:
    torch.manual_seed(1)
    # Apart from each other, as the halves of a gated layer lie.
    rows = torch.randn(4096, 2 * inner, device="cuda", dtype=torch.bfloat16)[:, :inner]
    projection = torch.nn.Linear(inner, outer, bias, device="cuda", dtype=torch.bfloat16)
    with steady(CUDA), torch.inference_mode():
        whole = projection(rows)
        for count in (3, 16, 48, 100, 129, 700):
            assert torch.equal(projection(rows[:count]), whole[:count])


@gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_other_products_run_meanwhile(dtype: torch.dtype) -> None:
    """Whatever a thread beside this one multiplies: no size is refused."""
    with steady(CUDA):
        for rows, inner, outer in [(1, 7, 3), (1, 64, 1), (3, 576, 1000), (33, 129, 65), (200, 4096, 2)]:
            one = torch.randn(rows, inner, device="cuda", dtype=dtype)
            other = torch.randn(inner, outer, device="cuda", dtype=dtype)
            expected = one.double() @ other.double()
            many = torch.bmm(one.expand(5, -1, -1), other.expand(5, -1, -1))
            added = torch.addmm(other[0], one, other) - other[0]
            for got in (one @ other, many[4], added):
                torch.testing.assert_close(got.double(), expected, atol=0.02 * inner, rtol=0.05)
            if dtype != torch.float32:
                wide = torch.bmm(one[None], other[None], out_dtype=torch.float32)[0]
                torch.testing.assert_close(wide.double(), expected, atol=0.01 * inner, rtol=0.01)


@gpu
def test_what_was_set_before_is_set_again_when_the_last_one_leaves() -> None:
    matmul = torch.backends.cuda.matmul
    before = torch.backends.cuda.preferred_blas_library()
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with steady(CUDA):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with steady(CUDA):
        thread.start()
        assert entered.wait(10)
    assert not matmul.allow_bf16_reduced_precision_reduction_split_k
    leave.set()
    thread.join()
    assert matmul.allow_bf16_reduced_precision_reduction_split_k
    assert torch.backends.cuda.preferred_blas_library() == before


def test_elsewhere_nothing_is_set() -> None:
    allowed = torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction
    with steady(CPU):
        assert torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction == allowed
