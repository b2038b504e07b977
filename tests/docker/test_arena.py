"""The arena's image and compose file, built and run for real where containers can run."""

from pathlib import Path

from tests.docker.running import ARENA, COMPOSE, QUICK_INDEX, check_beside, on_top

# Both are the service itself, by its two addresses: what counts is that systems elsewhere are asked.
CONFIGURATION = """
[systems.system-near]
url = "http://127.0.0.1:8000"
timeout = 110

[systems.system-far]
url = "http://gateway:8000"
timeout = 110
"""

QUICK_ANSWERS: dict[str, dict[str, object]] = {
    "generation": {"environment": {"RAGNAROK_PASSAGES": "1", "RAGNAROK_PASSAGE_TOKENS": "64"}}
}


def test_an_arena_in_a_container_has_battles_and_keeps_votes(tmp_path: Path) -> None:
    folder = tmp_path / "arena"
    folder.mkdir()
    (folder / "arena.toml").write_text(CONFIGURATION)
    # The container's user is another one than ours.
    folder.chmod(0o755)
    (folder / "arena.toml").chmod(0o644)
    files = [COMPOSE, ARENA, on_top(tmp_path / "quick.yaml", QUICK_INDEX | QUICK_ANSWERS)]
    check_beside(files, "live_arena.py", ARENA=str(folder), RAGNAROK_ARENA_SECRET="s" * 32)
