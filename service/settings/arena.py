"""Settings of the arena that a service may have."""

from pathlib import Path

from pydantic import BaseModel, Field, SecretStr


class ArenaSettings(BaseModel):
    """Its configuration, its database and secret, and how much a voter may do."""

    arena: Path | None = Field(
        default=None,
        description="Arena's configuration (TOML), which names the systems that meet; no arena when not set.",
    )
    arena_store: SecretStr | None = Field(
        default=None,
        description="Database of its battles and votes: sqlite:///PATH or postgresql://USER@HOST/NAME; "
        "an SQLite file beside the configuration when not set.",
    )
    arena_secret: SecretStr | None = Field(
        default=None,
        description="What signs its tokens and cookies, 32 characters or more; "
        "made and kept in a file beside the configuration when not set.",
    )
    arena_battles: int = Field(
        default=20,
        ge=1,
        le=999_999,
        description="Battles and comparisons that a voter may begin in a minute.",
    )
    arena_compare: bool = Field(
        default=True,
        description="Whether anyone may compare two systems by name: whoever asks them what a battle asks "
        "can tell who is who before the vote.",
    )
    arena_votes: int = Field(
        default=60, ge=1, le=999_999, description="Votes that a voter may send in a minute."
    )
