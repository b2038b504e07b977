"""What results depend on beside the request: the settings that change them, and what was opened with them.

Each stage has an identity, a digest of both, which its process says of itself; who joins stages keeps nothing
of one whose identity is not known. Knows which settings count, once for all; a test holds that every setting
stands in one of the lists here. Knows nothing of models, indexes or HTTP.
"""

import json
from collections.abc import Mapping
from hashlib import blake2b
from importlib.metadata import version

from pydantic import BaseModel, Field

from service.settings import Settings

EDITION = f"1 {version('ragnarok-attention')}"
"""Part of every identity. Its number is raised when the same request begins to give another result."""

HEADER = "X-Identity"
"""Where the answer of a stage says its identity."""

SHAPING: Mapping[str, tuple[str, ...]] = {
    "retrieval": ("method", "k1", "b"),
    "rerank": ("rerank", "mode", "first_stage", "int8", "rerank_tokens"),
    "generation": (
        "generator",
        "openai_base_url",
        "openai_model",
        "policy",
        "sparsity",
        "passages",
        "passage_tokens",
        "max_tokens",
    ),
}
"""Settings that change what each stage says."""

NAMING = ("index", "depth", "model", "profile")
"""Settings that change it too, known by what they stand for: what the index, the model and the profile hold,
and the depth that a question is asked with."""

INDIFFERENT = (
    "api_keys",
    "arena",
    "arena_battles",
    "arena_compare",
    "arena_secret",
    "arena_store",
    "arena_votes",
    "body_seconds",
    "cache_seconds",
    "connect_seconds",
    "cors_origins",
    "device",
    "generation_url",
    "host_memory_bytes",
    "indexes",
    "log_format",
    "log_questions",
    "max_body_bytes",
    "max_depth",
    "max_documents",
    "max_documents_bytes",
    "max_hits",
    "max_in_flight",
    "max_queries",
    "max_waiting",
    "memory_bytes",
    "model_aliases",
    "openai_api_key",
    "openai_timeout",
    "otlp_endpoint",
    "rate_limit",
    "read_seconds",
    "redis_url",
    "request_seconds",
    "rerank_url",
    "retrieval_url",
    "serve",
    "shutdown_seconds",
    "store",
    "store_bytes",
    "store_redis",
    "stream_seconds",
    "threads",
    "upstream_key",
)
"""Settings that change nothing of it: where things are, how fast and how much at once, what is logged."""


class Identities(BaseModel):
    """What a process works with: digests that change when the same request may be answered otherwise."""

    identities: dict[str, str] = Field(
        description="`retrieval:` and an index's name, `rerank`, `generation`: of those that are here.",
        examples=[{"rerank": "8c1f0ad3b2b04d5f9a7e6c1d2e3f4a5b"}],
    )


def identity_of(stage: str, settings: Settings, opened: object) -> str:
    """The identity of a stage (one of `STAGES`) that has opened what `opened` (JSON) says."""
    shaping = {name: getattr(settings, name) for name in SHAPING[stage]}
    told = json.dumps([EDITION, stage, shaping, opened], sort_keys=True, default=str)
    return blake2b(told.encode(), digest_size=16).hexdigest()


def subject_of(stage: str, index: str = "") -> str:
    """What a stage is called in `Identities`: retrieval by its index."""
    return f"{stage}:{index}" if stage == "retrieval" else stage
