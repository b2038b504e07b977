"""Building of an index: the corpus is read once into the passage store, and every part is made from that."""

import importlib.metadata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from indexes import bm25, catalogue, disk, manifest, passages
from indexes.corpora import FORMATS, detect, read_located
from indexes.encoder import find_spec
from indexes.errors import CorpusError, IndexesError
from indexes.index import Index, open_index
from indexes.manifest import Manifest
from indexes.passages import PassageStore
from indexes.progress import Progress, silent

PARTS = ("bm25", "dense")
PASSAGES_FILE = "passages.sqlite"
_ROOM = {"bm25": 0.5, "dense": 0.5}
"""Bytes a part takes for each byte of text, at the least; the passages themselves take one."""


def build_index(
    source: str | Path,
    name: str,
    *,
    root: str | Path | None = None,
    corpus_format: str | None = None,
    parts: Sequence[str] = ("bm25",),
    encoder: str = "minilm",
    replace: bool = False,
    progress: Progress | None = None,
) -> Index:
    """Build an index of a corpus and open it.

    `source` is a file or folder in one of `corpora.FORMATS` (detected where `corpus_format` is None),
    `parts` any of `bm25` and `dense`, `encoder` the dense part's. The index appears under its name when it
    is complete; after any failure, Ctrl-C included, nothing of it is left and an older index of that name is
    as it was. The stages that `progress` hears of are `reading`, `bm25` and `dense`.

    Raises CorpusError, IndexExists, DiskFull, EncoderNotFound, JavaMissing, and IndexesError for a bad name
    or part.
    """
    report = progress or silent
    source = Path(source).expanduser()
    if corpus_format not in (None, *FORMATS):
        raise CorpusError(f"no corpus format {corpus_format!r}; known are {', '.join(FORMATS)}")
    chosen = [part for part in PARTS if part in parts]
    if not chosen or len(chosen) != len(set(parts)):
        raise IndexesError(
            f"an index has parts of {', '.join(PARTS)}, one at least; not {', '.join(parts) or 'none'}"
        )
    if "dense" in chosen:
        find_spec(encoder)  # An unknown name is found now, and not after an hour of reading.
    with catalogue.building(name, root, replace=replace) as folder:
        corpus_format = corpus_format or detect(source)
        # The demonstration collection has no files of its own to weigh.
        weight = 0 if corpus_format == "pydocs" else disk.text_bytes(source)
        needed = int(weight * (1 + sum(_ROOM[part] for part in chosen)))
        disk.check_room(folder, needed)
        with disk.watch(folder.parent, needed):
            counts = passages.write(folder / PASSAGES_FILE, read_located(source, corpus_format), report)
            made = _make_parts(folder, chosen, encoder, report)
            description = Manifest(
                format=manifest.FORMAT,
                name=name,
                created=datetime.now(UTC).isoformat(timespec="microseconds"),
                source=corpus_format if corpus_format == "pydocs" else str(source.resolve()),
                corpus_format=corpus_format,
                passages=counts.passages,
                empty=counts.empty,
                bytes=disk.size_of(folder),
                parts=made,
                software=f"ragnarok-attention {importlib.metadata.version('ragnarok-attention')}",
            )
            manifest.write(folder, description)
    return open_index(name, root)


def _make_parts(
    folder: Path, parts: Sequence[str], encoder: str, report: Progress
) -> dict[str, dict[str, object]]:
    made = {}
    store = PassageStore(folder / PASSAGES_FILE)
    try:
        if "bm25" in parts:
            made["bm25"] = bm25.build(folder / "bm25", store, report)
        if "dense" in parts:
            from indexes import dense  # Faiss takes a moment to import, and BM25 needs none of it.

            made["dense"] = dense.build(folder / "dense", store, encoder, report)
    finally:
        store.close()
    return made
