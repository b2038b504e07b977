"""A document's state as bytes: what every tier writes. docs/store.md draws the format.

Nothing is executed or allocated on the word of a header: all sizes must add up to the bytes at hand, and
one CRC-32 covers all of them. CRC-32 (`zlib`) is in the standard library, reads gigabytes a second, and
finds every burst of up to 32 bits; it guards against accidents, not against whoever can write the store.
"""

import math
import struct
import zlib

import torch
from torch import Tensor

from rerank.store.types import DTYPES, DocumentState

MAGIC = b"RDoc"
VERSION = 1

_HEADER = struct.Struct("<4s4B4I")  # magic; version, dtype, flags, bytes of key; tokens, groups, dim, signals
_CHECKSUM = struct.Struct("<I")
_BODY = _HEADER.size + _CHECKSUM.size  # where the key begins
_CUT, _SCALED = 1, 2  # flags


class CorruptState(ValueError):
    """Bytes that are no record of the key asked for. Stays within the store: to callers it is a miss."""


def encode(key: str, state: DocumentState) -> bytes:
    """The record of a state under its key. Raises ValueError for a key of over 255 bytes."""
    name = key.encode()
    if len(name) > 255:
        raise ValueError(f"key {key[:20]!r}… has {len(name)} bytes, at most 255 are kept")
    flags = _CUT * state.cut + _SCALED * (state.scales is not None)
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        DTYPES.index(state.keys.dtype),
        flags,
        len(name),
        *state.keys.shape,
        state.null.shape[0],
    )
    parts = [state.null, *([] if state.scales is None else [state.scales]), state.keys]
    body = b"".join([name, bytes(_padding(len(name))), *map(_bytes, parts)])
    return b"".join([header, _CHECKSUM.pack(zlib.crc32(body, zlib.crc32(header))), body])


def decode(key: str, blob: bytes) -> DocumentState:
    """The state in a record; its tensors share one copy of `blob`. Raises CorruptState."""
    if len(blob) < _BODY or blob[:4] != MAGIC:
        raise CorruptState(f"{key}: {len(blob)} bytes that are no record")
    _, version, dtype, flags, named, tokens, groups, dim, signals = _HEADER.unpack_from(blob)
    if version != VERSION or dtype >= len(DTYPES) or flags & ~(_CUT | _SCALED):
        raise CorruptState(f"{key}: a record of version {version}, dtype {dtype}, flags {flags:#x}")
    scaled = bool(flags & _SCALED)
    start = _BODY + named + _padding(named)
    shapes = [(signals,), *([(tokens, groups)] if scaled else []), (tokens, groups, dim)]
    types = [torch.float32] * (len(shapes) - 1) + [DTYPES[dtype]]
    size = start + sum(math.prod(s) * t.itemsize for s, t in zip(shapes, types, strict=True))
    if size != len(blob):
        raise CorruptState(f"{key}: {len(blob)} bytes where the header tells of {size}")
    # A view: the checksum reads the body where it lies.
    body = memoryview(blob)[_BODY:]
    if _CHECKSUM.unpack_from(blob, _HEADER.size)[0] != zlib.crc32(body, zlib.crc32(blob[: _HEADER.size])):
        raise CorruptState(f"{key}: the checksum is another")
    if bytes(body[:named]) != key.encode():
        raise CorruptState(f"{key}: the record of another key")
    if scaled != (DTYPES[dtype] == torch.int8):
        raise CorruptState(f"{key}: int8 keys have scales, others have none")
    payload = bytearray(memoryview(blob)[start:])
    tensors, offset = [], 0
    for shape, kind in zip(shapes, types, strict=True):
        tensors.append(_tensor(payload, offset, shape, kind))
        offset += math.prod(shape) * kind.itemsize
    return DocumentState(
        keys=tensors[-1], scales=tensors[1] if scaled else None, null=tensors[0], cut=bool(flags & _CUT)
    )


def _padding(named: int) -> int:
    """Zeros after a key, so that the tensors begin at a multiple of 8."""
    return -(_BODY + named) % 8


def _bytes(tensor: Tensor) -> bytes:
    # NumPy knows no bf16: every type goes as what it is in memory.
    return bytes(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())


def _tensor(payload: bytearray, offset: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    count = math.prod(shape)
    if count == 0:  # frombuffer refuses to make nothing
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(payload, dtype=dtype, count=count, offset=offset).view(shape)
