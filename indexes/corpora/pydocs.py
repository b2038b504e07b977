"""The demonstration collection: documentation that every Python installation carries.

Two sources: the language reference that `help()` shows (`pydoc_data.topics`), and the docstrings of the
standard library's public modules, classes, functions and methods. The library's source is parsed, never
imported, so that no module's side effects happen; only modules written in C, which have none, are imported
for their docstrings. The same Python version always gives the same passages in the same order.
"""

import ast
import importlib
import inspect
import os
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from indexes.corpora.cut import passages, sections
from indexes.corpora.source import Located
from indexes.types import Passage

SITE = "https://docs.python.org/3"
MINIMUM_WORDS = 10
"""Docstrings shorter than this say little more than their name."""

_LEFT_OUT = frozenset(
    (
        "antigravity",
        "dist-packages",
        "distutils",
        "encodings",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "msilib",
        "pydoc_data",
        "site-packages",
        "test",
        "tests",
        "this",
        "tkinter",
        "turtledemo",
    )
)
_KNOWN_AS = {"posix": "os"}
_DESCRIBED_IN = {"builtins": "functions"}
_OWN_PAGE = frozenset(
    (
        "collections.abc",
        "concurrent.futures",
        "curses.ascii",
        "curses.panel",
        "email.charset",
        "email.encoders",
        "email.errors",
        "email.generator",
        "email.header",
        "email.headerregistry",
        "email.message",
        "email.mime",
        "email.parser",
        "email.policy",
        "email.utils",
        "html.entities",
        "html.parser",
        "http.client",
        "http.cookiejar",
        "http.cookies",
        "http.server",
        "importlib.metadata",
        "importlib.resources",
        "logging.config",
        "logging.handlers",
        "multiprocessing.shared_memory",
        "os.path",
        "unittest.mock",
        "urllib.error",
        "urllib.parse",
        "urllib.request",
        "urllib.robotparser",
        "xml.dom",
        "xml.dom.minidom",
        "xml.dom.pulldom",
        "xml.etree.ElementTree",
        "xml.sax",
        "xml.sax.handler",
        "xmlrpc.client",
        "xmlrpc.server",
    )
)
"""Submodules with a page of their own; the others are described on their parent's."""


def read(_path: Path) -> Iterator[Located]:
    """Read the documentation of the Python that runs; the path is not looked at."""
    seen: set[str] = set()
    for name, title, text, url, file in (*_topics(), *_library(), *_compiled()):
        if name in seen:  # Defined twice, for two platforms say: the first is as good as the second.
            continue
        seen.add(name)
        for number, passage in enumerate(passages(text.split("\n\n")), start=1):
            if passage not in seen:
                seen.add(passage)
                yield Located(Passage(f"{name}#{number}", passage, title, url), file, 1)


_Entry = tuple[str, str, str, str, Path]
"""A name that is unique, a title, a text, the address of the page that holds it, the file it came from."""


def _topics() -> Iterator[_Entry]:
    from pydoc_data import topics

    # Long topics repeat short ones; a passage is kept where it comes first, under the more telling title.
    for topic, text in sorted(topics.topics.items(), key=lambda item: (len(item[1]), item[0])):
        title = ""
        for number, (heading, blocks) in enumerate(sections(text, "rst"), start=1):
            title = title or heading or topic
            full = title if heading in ("", title) else f"{title}: {heading}"
            if blocks:
                url = f"{SITE}/reference/index.html"
                yield f"topic/{topic}/{number}", full, "\n\n".join(blocks), url, Path(topics.__file__)


def _library() -> Iterator[_Entry]:
    root = Path(sysconfig.get_path("stdlib"))
    for file in _sources(root):
        parts = file.relative_to(root).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError):
            continue  # A file that Python itself could not import has nothing to show.
        yield from _module(tree, module, file)


def _sources(root: Path) -> list[Path]:
    found = []
    for place, folders, files in os.walk(root):
        folders[:] = [name for name in folders if _public(name)]
        found += [Path(place, name) for name in files if name.endswith(".py") and _public(name[:-3])]
        if Path(place) != root and "__init__.py" in files:
            found.append(Path(place, "__init__.py"))
    return sorted(found)


def _public(name: str) -> bool:
    return name not in _LEFT_OUT and name.isidentifier() and not name.startswith("_")


def _module(tree: ast.Module, module: str, file: Path) -> Iterator[_Entry]:
    url = _page(module)
    if text := _worth(ast.get_docstring(tree)):
        yield module, f"{module} (module)", text, url, file
    for node in _definitions(tree.body):
        name = f"{module}.{node.name}"
        if isinstance(node, ast.ClassDef):
            if text := _worth(ast.get_docstring(node)):
                yield name, f"{name} (class)", text, url, file
            for method in _definitions(node.body):
                if not isinstance(method, ast.ClassDef):
                    yield from _function(method, f"{name}.{method.name}", "method", url, file)
        else:
            yield from _function(node, name, "function", url, file)


def _function(
    node: ast.FunctionDef | ast.AsyncFunctionDef, name: str, kind: str, url: str, file: Path
) -> Iterator[_Entry]:
    if text := _worth(ast.get_docstring(node)):
        yield name, f"{name} ({kind})", f"{node.name}({ast.unparse(node.args)})\n\n{text}", url, file


def _definitions(body: list[ast.stmt]) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The public classes and functions of a body, also those defined under a condition."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("_"):
                yield node
        elif isinstance(node, ast.If):
            yield from _definitions([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            handled = (inner for handler in node.handlers for inner in handler.body)
            yield from _definitions([*node.body, *handled])


def _compiled() -> Iterator[_Entry]:
    """The modules written in C: `builtins`, and those of the standard library that have no source file."""
    root = Path(sysconfig.get_path("stdlib"))
    for name in sorted(filter(_public, sys.stdlib_module_names)):
        if (root / f"{name}.py").exists() or (root / name).exists():
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Some are to be removed from Python one day, and say so.
                loaded = importlib.import_module(name)
        except ImportError:
            continue  # Another platform's.
        # What `posix` defines is documented, and meant to be used, as members of `os`.
        module = _KNOWN_AS.get(name, name)
        url = _page(_DESCRIBED_IN.get(module, module))
        file = Path(getattr(loaded, "__file__", None) or sys.executable)
        if module == name and (text := _worth(inspect.getdoc(loaded))):
            yield module, f"{module} (module)", text, url, file
        for name, member in sorted(vars(loaded).items()):
            # What another module defined is described there; builtins' own names need no prefix.
            if name.startswith("_") or getattr(member, "__module__", None) not in (loaded.__name__, None):
                continue
            full = name if module == "builtins" else f"{module}.{name}"
            yield from _member(member, full, url, file)


def _member(member: object, name: str, url: str, file: Path) -> Iterator[_Entry]:
    if inspect.isclass(member):
        if text := _worth(inspect.getdoc(member)):
            yield name, f"{name} (class)", text, url, file
        for attribute, method in sorted(vars(member).items()):
            text = (
                "" if attribute.startswith("_") or not inspect.isroutine(method) else _worth(method.__doc__)
            )
            if text:
                yield f"{name}.{attribute}", f"{name}.{attribute} (method)", text, url, file
    elif inspect.isbuiltin(member) and (text := _worth(inspect.getdoc(member))):
        yield name, f"{name} (function)", text, url, file


def _worth(docstring: str | None) -> str:
    """The docstring, or nothing where it is missing or too short."""
    if docstring is None or len(docstring.split()) < MINIMUM_WORDS:
        return ""
    return inspect.cleandoc(docstring)


def _page(module: str) -> str:
    while "." in module and module not in _OWN_PAGE:
        module = module.rpartition(".")[0]
    return f"{SITE}/library/{module.lower()}.html"
