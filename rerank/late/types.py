"""What late attention matches: rows of queries, and keys of documents in pages.

Knows how they lie in memory; not how they are made or matched.
"""

from dataclasses import dataclass, replace

from torch import Tensor

PAGE = 16
"""Tokens of a page: documents take whole pages of an arena."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of several queries, those of query i from `starts[i]` to `starts[i + 1]`.

    `vectors` `[rows, heads, dim]`; `coefficients` `[rows, heads]` fp32; heads in order of their KV group,
    those of group g from `heads[g]` to `heads[g + 1]`; `scale` multiplies logits.
    """

    vectors: Tensor
    coefficients: Tensor
    starts: list[int]
    heads: list[int]
    scale: float

    def of(self, query: int) -> "Rows":
        """The rows of one query alone, without a copy."""
        own = slice(self.starts[query], self.starts[query + 1])
        return replace(
            self,
            vectors=self.vectors[own],
            coefficients=self.coefficients[own],
            starts=[0, own.stop - own.start],
        )


@dataclass(frozen=True, slots=True)
class Pages:
    """Keys of documents, in pages: `keys` `[tokens, groups, dim]`, with `scales` `[tokens, groups]` for int8.

    Document (slot) s has `lengths[s]` tokens; its token t is row `table[s, t // PAGE] * PAGE + t % PAGE`.
    `table` is int32 `[slots, pages]`, `lengths` int32 `[slots]`.
    """

    keys: Tensor
    scales: Tensor | None
    table: Tensor
    lengths: Tensor
