"""Settings of re-ranking: the model, what it reads of passages, and where that is kept."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from ragnarok.documents import STORE_BYTES
from ragnarok.types import Mode

Device = Literal["cpu", "cuda"]
"""Where a model runs: the CPU, or the first GPU."""


class RerankingSettings(BaseModel):
    """The model and its attention, the document store, and how much a request may bring."""

    model: str = Field(
        default="smollm2-135m",
        min_length=1,
        description="Name, path or hub id of the model that re-ranks and answers.",
    )
    device: Device | None = Field(
        default=None,
        description="Where the model runs: cpu, or cuda, which is refused where no GPU answers; the first "
        "GPU, or the CPU where there is none, when not set.",
    )
    model_aliases: str | None = Field(
        default=None,
        description="Other names of the model that clients of /v1/rerank may ask for, with commas.",
    )
    rerank: bool = Field(
        default=True, description="Whether the model's attention re-ranks what was retrieved."
    )
    mode: Mode | None = Field(
        default=None,
        description="late: passages are read alone and kept; read: the question reads them all; "
        "joint: one prompt holds all. late where the model has a profile when not set.",
    )
    profile: Path | None = Field(
        default=None, description="Head profile (JSON); the one that comes with the model when not set."
    )
    first_stage: float | None = Field(
        default=None,
        ge=0,
        le=1e6,
        description="Weight of the first stage's rank against attention, 0 is attention alone; "
        "as the profile says, 1 in joint mode, when not set.",
    )
    store: Path | None = Field(
        default=None, description="Folder that keeps what late mode reads of passages; none when not set."
    )
    store_bytes: int = Field(
        default=STORE_BYTES, ge=1, description="How large that folder may grow, in bytes."
    )
    store_redis: str | None = Field(
        default=None,
        repr=False,
        description="Redis that keeps it for several machines, redis://HOST:PORT/DATABASE; "
        "with a folder too, the folder is behind it.",
    )
    int8: bool = Field(
        default=False, description="Whether late mode keeps passages' keys in one byte a number."
    )
    memory_bytes: int = Field(
        default=1 << 30,
        ge=1,
        description="Bytes of passages' keys that late mode has in memory.",
    )
    host_memory_bytes: int = Field(
        default=0, ge=0, description="Bytes of pinned memory beside a GPU that late mode has behind those."
    )
    depth: int = Field(
        default=20, ge=1, description="Passages that are retrieved and re-ranked for a question."
    )
    max_depth: int = Field(default=100, ge=1, description="The largest depth that a request may ask for.")
    rerank_tokens: int = Field(
        default=160, ge=1, description="Tokens of each passage that the re-ranker reads."
    )
    max_documents: int = Field(
        default=10_000, ge=1, description="The most documents that a request may have re-ranked."
    )
    max_documents_bytes: int = Field(
        default=64 * 1024**2,
        ge=1,
        description="Bytes of the largest request body that brings documents (rerank, generate) or a batch.",
    )
