"""The two types every room speaks: a passage, and a passage found.

This module knows nothing of how passages are stored or searched.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Passage:
    """A unit of text that can be retrieved and cited.

    `docid` is unique within its index. `title` and `url` may be empty.
    """

    docid: str
    text: str
    title: str = ""
    url: str = ""

    @property
    def contents(self) -> str:
        """Title and text as one string: what is indexed, encoded and re-ranked."""
        return f"{self.title}\n{self.text}" if self.title else self.text


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage at a rank (from 1) with the score that put it there (higher is better)."""

    docid: str
    score: float
    rank: int
    passage: Passage
