"""The prefix cache: written in place, rewound without a copy, never beyond its size."""

import pytest
import torch

from rerank.cache import PrefixCache


def write(cache: PrefixCache, values: list[float]) -> torch.Tensor:
    """Write one number a token to both layers; return the keys that the first layer then has."""
    states = torch.tensor(values).view(1, 1, -1, 1)
    for layer in (1, 0):
        keys, kept = cache.update(states, -states, layer)
        assert torch.equal(kept, -keys)
    return keys.flatten()


def test_tokens_are_added_in_place() -> None:
    cache = PrefixCache(2, 5)
    first = write(cache, [1, 2])
    second = write(cache, [3])
    assert second.tolist() == [1, 2, 3]
    assert second.data_ptr() == first.data_ptr()
    assert cache.length == cache.get_seq_length() == 3


def test_rewound_tokens_are_written_over() -> None:
    cache = PrefixCache(2, 5)
    before = write(cache, [1, 2, 3, 4])
    cache.rewind(2)
    assert cache.length == 2
    after = write(cache, [7, 8, 9])
    assert after.tolist() == [1, 2, 7, 8, 9]
    assert after.data_ptr() == before.data_ptr()


def test_masks_are_told_of_every_token() -> None:
    cache = PrefixCache(2, 5)
    write(cache, [1, 2, 3])
    assert cache.get_mask_sizes(2, 0) == (5, 0)


def test_more_than_its_size_is_refused_and_nothing_lost() -> None:
    cache = PrefixCache(2, 3)
    write(cache, [1, 2])
    with pytest.raises(ValueError, match="holds 3 tokens, 4 were written"):
        write(cache, [3, 4])
    assert cache.length == 2
    assert write(cache, [5]).tolist() == [1, 2, 5]


@pytest.mark.parametrize("length", [-1, 3])
def test_only_what_is_there_can_be_rewound_to(length: int) -> None:
    cache = PrefixCache(2, 5)
    write(cache, [1, 2])
    with pytest.raises(ValueError, match=f"of 2 tokens to {length}"):
        cache.rewind(length)
