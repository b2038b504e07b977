"""What an index says of itself: the file `manifest.json` in its folder."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from indexes.errors import IndexBroken

FILE = "manifest.json"
FORMAT = 1
"""The version of an index's layout on disk; another version's index must be built again."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index holds, where that came from, and what made it.

    `parts` maps `bm25` and `dense` to the settings and versions each was built with. `passages` counts all
    passages, `empty` those of them without text, which no search finds. `bytes` is the size of the parts on
    disk, `created` a time in UTC. An index that Pyserini or Anserini built has no manifest; it is given one
    with `format` 0.
    """

    format: int
    name: str
    created: str
    source: str
    corpus_format: str
    passages: int
    empty: int
    bytes: int
    parts: dict[str, dict[str, object]]
    software: str


def write(folder: Path, manifest: Manifest) -> None:
    """Write an index's manifest; raises OSError."""
    (folder / FILE).write_text(
        json.dumps(asdict(manifest), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def read(folder: Path) -> Manifest:
    """Read an index's manifest.

    Raises IndexBroken if it is missing, damaged or of another version.
    """
    try:
        record = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise broken(folder, f"its {FILE} cannot be read ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        found = record.get("format") if isinstance(record, dict) else None
        raise broken(folder, f"its layout has version {found!r}, and this software reads version {FORMAT}")
    wanted = {field.name for field in fields(Manifest)}
    if set(record) != wanted or not isinstance(record["parts"], dict):
        raise broken(folder, f"its {FILE} lacks {', '.join(sorted(wanted - set(record))) or 'its form'}")
    return Manifest(**record)


def broken(folder: Path, what: str) -> IndexBroken:
    """The error for an index that cannot be used as it is."""
    return IndexBroken(
        f"the index {folder} cannot be opened: {what}. "
        f"Build it again: ragnarok index CORPUS --name {folder.name.partition('.building-')[0]} --replace"
    )
