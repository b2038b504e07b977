"""The house rules: which way imports run, what is documented, and what never enters the tree."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LONGEST

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {
    "indexes": set(),
    "rerank": set(),
    "ragnarok": {"indexes", "rerank"},
    "service": {"indexes", "rerank", "ragnarok"},
}
"""Each room and the rooms it may import."""

FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_imports_run_one_way() -> None:
    for path in FILES:
        room = path.relative_to(ROOT).parts[0]
        reached = {module.split(".")[0] for module in imports(path)} & ROOMS.keys()
        assert reached <= ROOMS[room] | {room}, f"{name_of(path)} imports {reached}"


def test_no_module_imports_itself_in_a_circle() -> None:
    modules = {name_of(path): path for path in FILES}
    edges: dict[str, set[str]] = {}
    for name, path in modules.items():
        # Late imports and those for types alone too: they hide a circle, they do not break it.
        found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        edges[name] = {
            target
            for node in found
            for target in (node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names))
            if target in modules and target != name and not name.startswith(f"{target}.")
        }

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in edges[name]:
                visit(target, (*trail, name))
            done.add(name)

    done: set[str] = set()
    for name in modules:
        visit(name, ())


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_names_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    assert ast.get_docstring(tree) or not tree.body, f"{name_of(path)} does not say what it is"
    bare = [
        f"{owner}{node.name}"
        for owner, body in _bodies(tree)
        for node in body
        if isinstance(node, kinds) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert bare == []


def _bodies(tree: ast.Module) -> Iterator[tuple[str, list[ast.stmt]]]:
    yield "", tree.body
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield f"{node.name}.", node.body


def test_nothing_is_excused_from_the_rules() -> None:
    excuse = re.compile(r"#\s*(noqa|type:\s*ignore|mypy:|pragma:\s*no cover)")
    excused = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if excuse.search(line) and "re.compile" not in line
    ]
    assert excused == []


def test_the_files_that_begin_first_are_there() -> None:
    assert [name for name in LONGEST if not (ROOT / "tests" / name).is_file()] == []


def test_help_needs_no_model_library() -> None:
    code = "import sys, ragnarok.cli; sys.exit(bool({'torch', 'transformers', 'faiss'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_large_or_binary_file_is_kept() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name for name in listed.decode().split("\0") if name]
    assert [str(path) for path in files if path.is_file() and path.stat().st_size > 600_000] == []
    weights = {".safetensors", ".gguf", ".bin", ".pt", ".faiss", ".sqlite", ".gz"}
    assert [str(path) for path in files if path.suffix in weights] == []
