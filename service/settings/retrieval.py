"""Settings of the first stage: which indexes are searched, and how."""

from pathlib import Path

from pydantic import BaseModel, Field

from indexes import MAX_K, Method
from service.settings.values import split_list


class RetrievalSettings(BaseModel):
    """Indexes, BM25 and dense search, and how much a search may ask for."""

    index: str = Field(
        default="demo", min_length=1, description="Name or path of the index that is searched."
    )
    indexes: str | None = Field(
        default=None,
        description="Names or paths of all indexes that may be searched by name, with commas; "
        "RAGNAROK_INDEX alone when not set.",
    )
    method: Method | None = Field(
        default=None,
        description="First stage: bm25, dense or hybrid; the best that the index has when not set.",
    )
    k1: float = Field(
        default=0.9, ge=0, le=1e6, description="BM25: how soon more of the same word counts no further."
    )
    b: float = Field(default=0.4, ge=0, le=1, description="BM25: how much longer passages are marked down.")
    max_hits: int = Field(
        default=1_000,
        ge=1,
        le=MAX_K,
        description="The most hits that a search may ask for; of a batch, for each query.",
    )
    max_queries: int = Field(default=1_000, ge=1, description="The most queries of a batch of searches.")

    def served_indexes(self) -> dict[str, str]:
        """What clients call each index that is served, and its name or path."""
        return {Path(place).name: place for place in split_list(self.indexes) or [self.index]}

    @property
    def index_name(self) -> str:
        """What clients call the index that questions are asked of."""
        served = self.served_indexes()
        return next((name for name, place in served.items() if self.index in {name, place}), self.index)
