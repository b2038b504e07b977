"""The documentation is true: its commands run, and its tables hold what the code holds."""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from ragnarok.cli import app
from ragnarok.errors import OUTCOMES
from rerank.model import cache_home
from service.settings import Settings, variable

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def shown_commands() -> Iterator[tuple[str, list[str]]]:
    """Every `ragnarok …` of every page, in blocks and in running text."""
    for page in PAGES:
        text = page.read_text()
        lines = [
            line
            for language in ("sh", "bash")
            for block in blocks(page, language)
            for line in block.splitlines()
        ]
        for line in (*lines, *re.findall(r"`(ragnarok [a-z][^`]*)`", text)):
            words = shlex.split(line.replace("\n", " "), comments=True)
            if words and words[0].removeprefix(".venv/bin/") == "ragnarok":
                yield page.name, words[1:]


def test_shown_commands_and_options_exist() -> None:
    group = typer.main.get_group(app)
    commands = group.commands
    shown = list(shown_commands())
    assert len(shown) > 20
    for page, (name, *words) in shown:
        assert name in commands, f"{page}: ragnarok {name}"
        command = commands[name]
        if subcommands := getattr(command, "commands", {}):
            name, *words = words
            assert name in subcommands, f"{page}: ragnarok … {name}"
            command = subcommands[name]
        known = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        options = {word.split("=")[0] for word in words if word.startswith("-") and len(word) > 1}
        assert options <= known | {"--help"}, f"{page}: ragnarok {name} has no {options - known}"


def test_every_command_is_shown() -> None:
    shown = {name for _, (name, *_) in shown_commands()}
    assert {command.name for command in app.registered_commands} - shown <= {"demo"}
    for group in app.registered_groups:
        assert group.typer_instance is not None
        of_group = {words[0] for _, (name, *words) in shown_commands() if name == group.name and words}
        assert of_group >= {command.name for command in group.typer_instance.registered_commands}
    assert "make demo" in (ROOT / "README.md").read_text()


@pytest.mark.model
def test_quickstart_runs_as_it_stands(tmp_path: Path) -> None:
    page = ROOT / "docs" / "quickstart.md"
    # The converted model is taken from the cache: making it takes longer than the whole page.
    home = tmp_path / "home"
    home.mkdir()
    (cache_home() / "models").mkdir(parents=True, exist_ok=True)
    (home / "models").symlink_to(cache_home() / "models")
    environment = {
        **os.environ,
        "RAGNAROK_HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    script = "set -eu\n" + "\n".join(blocks(page, "sh"))
    script += "python - <<'END'\n" + "\n".join(blocks(page, "python")) + "END\n"
    shell = shutil.which("bash") or "sh"
    done = subprocess.run(
        [shell, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "March 1889" in re.sub("[«»]", "", done.stdout)
    assert '"references"' in (tmp_path / "answer.json").read_text()
    assert (tmp_path / "runs" / "first" / "answers.first.jsonl").stat().st_size > 0
    assert re.search(r"RR@10\s+1\.0000", done.stdout)


def test_settings_are_documented() -> None:
    page = (ROOT / "docs" / "service.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"| `{variable(name)}` |" in page
        assert field.description
        assert field.description in page
    documented = set(re.findall(r"^\| `(RAGNAROK_\w+)`", page, flags=re.MULTILINE))
    assert documented == {variable(name) for name in Settings.model_fields} | {
        "RAGNAROK_HOME",
        "RAGNAROK_JAVA_HEAP",
    }


def test_errors_are_documented() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    for error, outcome in OUTCOMES.items():
        assert f"| `{error.__name__}` | {outcome.exit_code} | {outcome.status} | {outcome.title} |" in page


def test_the_openapi_document_is_as_served() -> None:
    document = runpy.run_path(str(ROOT / "docs" / "openapi.py"))["document"]()
    kept = (ROOT / "docs" / "openapi.json").read_text(encoding="utf-8")
    assert kept == document, "python docs/openapi.py writes it anew"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
