"""Matrix products that give a row the same sums whatever other rows run along.

Where rows are few, cuBLAS splits the long sum of a product among blocks and adds the parts up: what a row
comes to then depends, in its last bits, on how many others there are. cuBLASLt can be told not to. Some
sizes run slower for it, so that it holds only while it is asked for, and for other threads meanwhile.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

REDUCTIONS = ("allow_bf16_reduced_precision_reduction", "allow_fp16_reduced_precision_reduction")
"""Torch's settings of how products may add up: in half precision, and in parts."""

_lock = threading.Lock()
_inside = 0
_before: tuple[Any, list[tuple[bool, bool]]] = None, []


@contextmanager
def steady(device: torch.device) -> Iterator[None]:
    """No product on a GPU is split meanwhile, in any thread; may be entered again while it holds."""
    if device.type != "cuda":
        yield
        return
    global _inside, _before
    with _lock:
        if not _inside:
            cuda = torch.backends.cuda
            _before = cuda.preferred_blas_library(), [_allowed(name) for name in REDUCTIONS]
            # cuBLAS itself refuses to be told: it must not run while products are not to be split.
            cuda.preferred_blas_library("cublaslt")
            _allow([(False, False) for _ in REDUCTIONS])
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                library, allowed = _before
                _allow(allowed)
                torch.backends.cuda.preferred_blas_library(library)


def _allowed(name: str) -> tuple[bool, bool]:
    matmul = torch.backends.cuda.matmul
    return getattr(matmul, name), getattr(matmul, f"{name}_split_k")


def _allow(values: Sequence[tuple[bool, bool]]) -> None:
    for name, value in zip(REDUCTIONS, values, strict=True):
        setattr(torch.backends.cuda.matmul, name, value)
