"""The names of indexes: each is a folder in one root, built beside and renamed when it is complete.

Knows folders and names; what is in an index is others' business.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexes import manifest
from indexes.bm25 import is_lucene
from indexes.errors import IndexBroken, IndexesError, IndexExists, IndexNotFound
from indexes.manifest import Manifest

HOME_VARIABLE = "RAGNAROK_HOME"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_BUILDING = ".building-"
_REPLACED = ".replaced-"


def default_root() -> Path:
    """Where indexes are kept: `indexes/` in the folder of RAGNAROK_HOME, else in `~/.cache/ragnarok`."""
    home = os.environ.get(HOME_VARIABLE)
    return (Path(home).expanduser() if home else Path.home() / ".cache" / "ragnarok") / "indexes"


def check_name(name: str) -> None:
    """Refuse a name that could not be a folder's, or would be taken for one of a build.

    Raises IndexesError with the rule.
    """
    if not _allowed(name):
        raise IndexesError(
            f"{name!r} cannot be an index's name: use up to 100 letters, digits, '.', '_' and '-', "
            "the first a letter or digit"
        )


def _allowed(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and _BUILDING not in name and _REPLACED not in name


def list_indexes(root: str | Path | None = None) -> list[Manifest]:
    """The manifests of the indexes in a root, by name; what cannot be opened is left out."""
    found = []
    for name in _names(_root(root)):
        try:
            found.append(manifest.read(_root(root) / name))
        except IndexBroken:
            continue
    return found


def locate(name_or_path: str | Path, root: str | Path | None = None) -> Path:
    """The folder of an index, by its name in the root or else by its path.

    Raises IndexNotFound, which lists the names there are, and IndexBroken for a folder that is no finished
    index.
    """
    named = _root(root) / name_or_path
    path = Path(name_or_path).expanduser()
    # A path is no name, whatever the root holds.
    folder = (
        named if isinstance(name_or_path, str) and _NAME.fullmatch(name_or_path) and named.is_dir() else path
    )
    if not str(name_or_path) or not folder.is_dir():
        raise _not_found(str(name_or_path), _root(root))
    if _BUILDING in folder.name:
        raise manifest.broken(folder, "it is half-built: its build is under way, or was broken off")
    if not (folder / manifest.FILE).is_file() and not is_lucene(folder):
        raise manifest.broken(folder, f"it holds neither a {manifest.FILE} nor a Lucene index")
    return folder


@contextmanager
def building(name: str, root: str | Path | None = None, *, replace: bool = False) -> Iterator[Path]:
    """A new folder to build an index in; it takes the name when the block ends well, and vanishes when not.

    Raises IndexesError for a bad name, IndexExists if the name is taken and not to be replaced, or is being
    built.
    """
    check_name(name)
    place = _root(root)
    place.mkdir(parents=True, exist_ok=True)
    final = place / name
    with _claimed(name, place):
        # Nobody else builds this name now, so anything unfinished was left by a build that died.
        _sweep(name, place)
        if final.exists() and not replace:
            raise _taken(final)
        folder = place / f"{name}{_BUILDING}{os.getpid()}"
        folder.mkdir()
        try:
            yield folder
            _settle(folder)
            _publish(folder, final, replace=replace)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _publish(folder: Path, final: Path, *, replace: bool) -> None:
    """Give a finished folder its name; who has the old one open keeps it."""
    old = final.with_name(f"{final.name}{_REPLACED}{os.getpid()}")
    if final.exists():
        if not replace:
            raise _taken(final)
        final.rename(old)
    try:
        folder.rename(final)
    except OSError:
        if old.exists():
            old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sweep(name: str, place: Path) -> None:
    """Remove what earlier builds of a name left; an index that was only moved aside comes back."""
    for left in place.glob(f"{name}{_REPLACED}*"):
        if (place / name).exists():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.rename(place / name)
    for left in place.glob(f"{name}{_BUILDING}*"):
        shutil.rmtree(left, ignore_errors=True)


def _settle(folder: Path) -> None:
    """Have the system write the files to the disk before the name says that they are complete."""
    for place, _, names in os.walk(folder):
        for name in names:
            descriptor = os.open(Path(place, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@contextmanager
def _claimed(name: str, place: Path) -> Iterator[None]:
    """Hold a name against other builds, of this process and of others; the claim dies with its process."""
    claim = place / f".{name}.lock"
    while True:
        descriptor = os.open(claim, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise IndexExists(
                f"the index {name!r} is being built by someone else in {place}: wait, or choose another name"
            ) from None
        try:
            if os.path.samestat(os.fstat(descriptor), claim.stat()):
                break
        except FileNotFoundError:
            pass
        # Its last holder removed the file between our opening and our locking it: the claim is worth nothing.
        os.close(descriptor)
    try:
        yield
    finally:
        claim.unlink(missing_ok=True)
        os.close(descriptor)


def _root(root: str | Path | None) -> Path:
    return default_root() if root is None else Path(root).expanduser()


def _names(root: Path) -> list[str]:
    if not root.is_dir():
        return []
    names = (folder.name for folder in root.iterdir() if (folder / manifest.FILE).is_file())
    return sorted(name for name in names if _allowed(name))


def _taken(final: Path) -> IndexExists:
    return IndexExists(
        f"the index {final.name!r} exists in {final.parent}: choose another name, or add --replace"
    )


def _not_found(name: str, root: Path) -> IndexNotFound:
    names = _names(root)
    known = f"there are {', '.join(names)}" if names else "there are none yet"
    started = _NAME.fullmatch(name) and any(root.glob(f"{name}{_BUILDING}*"))
    unfinished = " (a build of it was started and is not complete)" if started else ""
    return IndexNotFound(
        f"no index {name!r}{unfinished}: in {root} {known}. Build one: ragnarok index CORPUS --name NAME"
    )
