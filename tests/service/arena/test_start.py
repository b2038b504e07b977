"""An arena that cannot be opened is said so in one line, and nothing is left open."""

from pathlib import Path

import pytest

from ragnarok.arena.store import ArenaStore
from ragnarok.arena.types import System
from ragnarok.errors import ArenaConflict, BadSetting, NotFound
from service.app import create_app
from service.settings import Settings
from tests.service.arena.fakes import SECRET, parts_of, quick
from tests.service.fakes import a_pipeline

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({}, NotFound, "configuration cannot be read"),
        ({"arena_secret": "short"}, BadSetting, "the least is 32"),
        ({"arena_store": "mysql://host/name"}, BadSetting, "SQLite or PostgreSQL"),
    ],
)
async def test_what_cannot_be_opened(
    tmp_path: Path, more: dict[str, object], error: type[Exception], words: str
) -> None:
    app = create_app(quick(arena=tmp_path / "arena.toml", **more), a_pipeline())
    with pytest.raises(error, match=words):
        async with app.router.lifespan_context(app):
            pass


async def test_a_name_that_means_something_else_now(store_path: Path) -> None:
    store = ArenaStore(str(store_path))
    store.add_systems([System("system-left", {"index": "another"})])
    store.close()
    with parts_of(store_path) as parts:
        app = create_app(quick(), a_pipeline(), parts)
        with pytest.raises(ArenaConflict, match="'system-left' is kept with another configuration"):
            async with app.router.lifespan_context(app):
                pass


def test_secrets_are_not_shown() -> None:
    settings = Settings.model_validate(
        {"arena_secret": SECRET, "arena_store": "postgresql://u:pass-word@h/n"}
    )
    assert SECRET not in repr(settings)
    assert "pass-word" not in repr(settings)
