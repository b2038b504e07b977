"""Settings of serving: caches, keys, limits of clients and of time, the log and traces."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator

from service.settings.values import check_url, split_list


class ServingSettings(BaseModel):
    """What every request meets, whatever it asks for."""

    redis_url: SecretStr | None = Field(
        default=None, description="Redis that keeps answers (redis://HOST:PORT/DATABASE); none when not set."
    )
    cache_seconds: int = Field(default=3600, ge=1, description="How long an answer is kept in Redis.")
    api_keys: Path | None = Field(
        default=None,
        description="File of API keys' lines (ragnarok keys NAME); nobody needs a key when not set.",
    )
    cors_origins: str | None = Field(
        default=None,
        description="Sites whose pages may ask from a browser: https://HOST, several with commas, or *; "
        "none when not set.",
    )
    rate_limit: int | None = Field(
        default=None,
        ge=1,
        le=999_999,
        description="Requests a minute that a client may make: a key, or an address where no keys are; "
        "as many as they like when not set.",
    )
    max_in_flight: int | None = Field(
        default=None,
        ge=1,
        description="Requests of a client that this process answers at once; as many as it can when not set.",
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Questions that are worked on at once; their re-ranking shares the model's passes.",
    )
    max_waiting: int = Field(
        default=32,
        ge=0,
        description="Requests that may wait while as many as may are worked on; more are refused with 429.",
    )
    max_body_bytes: int = Field(default=64 * 1024, ge=1, description="Bytes of the largest request body.")
    request_seconds: float = Field(
        default=300.0, gt=0, description="Seconds after which an answer must have begun; then 504."
    )
    body_seconds: float = Field(
        default=30.0, gt=0, description="Seconds in which a request's body must have arrived; then 408."
    )
    stream_seconds: float = Field(
        default=600.0,
        gt=0,
        description="Seconds that an answer may take once it has begun; then it is cut off.",
    )
    shutdown_seconds: int = Field(
        default=30,
        ge=0,
        description="Seconds that answers being given may still take when the service is told to end.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="How each request's line in the log is written: text or json."
    )
    log_questions: bool = Field(
        default=False, description="Whether a request's line in the log holds what was asked."
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="OpenTelemetry collector that is sent a trace of each request, http://HOST:4318; "
        "none when not set.",
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            check_url(value)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str | None) -> str | None:
        for origin in split_list(value):
            if origin != "*":
                check_url(origin)
                if urlsplit(origin).path:
                    raise ValueError(f"{origin!r} is no origin: give https://HOST without a path or slash")
        return value
