"""An arena as files: all of it as JSONL, which can be read back, or its votes as a CSV table.

JSONL has one object a line, `{"system": …}`, `{"battle": …}` or `{"vote": …}`, with the members of `types`;
each line stands behind those that it names. The table has no texts. Knows nothing of databases.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from ragnarok.arena import codec, forms
from ragnarok.arena.orders import consistent
from ragnarok.arena.rows import AnyRow, Item, battle_row, system_row, vote_row
from ragnarok.arena.store import ArenaStore, Counts
from ragnarok.arena.types import STYLE, Battle, System
from ragnarok.trec.files import bad_line, read_lines, write_lines

_OF_BATTLE = ("battle_id", "created", "seed", "topics", "qid")
_OF_SIDE = ("system", "digest", *STYLE, "seconds")
_OF_VOTE = ("voter", "kind", "cast", "answer", "evidence", "tags")
COLUMNS = (
    *_OF_BATTLE,
    *(f"{name}_{side}" for side in "ab" for name in _OF_SIDE),
    *_OF_VOTE,
    "answer_consistent",
    "evidence_consistent",
)
"""The table's columns: of the battle, of each side (`seconds`: of all stages together), and of the vote.

`consistent` is yes or no where a model was asked in both orders, and empty elsewhere."""

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What makes a spreadsheet reckon a cell instead of showing it; the last four are full width."""

_READERS: dict[str, Callable[[object], AnyRow]] = {
    "system": system_row,
    "battle": battle_row,
    "vote": vote_row,
}


class Texts(Protocol):
    """What gives an arena's systems, battles and votes as JSON: a store, or what holds back some of it."""

    def texts(self) -> Iterator[tuple[str, str]]:
        """Each one's kind and its JSON, in an order that `import_jsonl` takes."""


def jsonl_lines(store: Texts) -> Iterator[str]:
    """All of a store, a line each, without its end; a connection is held until the iterator is closed."""
    for kind, text in store.texts():
        yield f'{{"{kind}": {text}}}'


def csv_lines(store: Texts) -> Iterator[str]:
    """The table's lines, without their ends: the head, then a row a vote, and one a battle without votes.

    A cell that a spreadsheet would take for a formula begins with a quote.
    """
    yield _row(COLUMNS)
    battles: dict[str, tuple[object, ...]] = {}
    voted: set[str] = set()
    for kind, text in store.texts():
        record = json.loads(text)
        if kind == "battle":
            battles[record["battle_id"]] = tuple(_of_battle(record))
        elif kind == "vote":
            battle_id = record["battle_id"]
            voted.add(battle_id)
            yield _row([*battles[battle_id], *_of_vote(record)])
    for battle_id, cells in battles.items():
        if battle_id not in voted:
            yield _row([*cells, *(None for _ in COLUMNS[len(cells) :])])


def export_jsonl(store: ArenaStore, path: Path) -> None:
    """Write all of a store (gzip by suffix); the file appears whole. Raises `DiskFull` and `NotFound`."""
    write_lines(path, jsonl_lines(store))


def export_csv(store: ArenaStore, path: Path) -> None:
    """Write a store's votes as a table (gzip by suffix). Raises `DiskFull` and `NotFound`."""
    write_lines(path, csv_lines(store))


def write_jsonl(path: Path, items: Iterable[Item]) -> None:
    """Write systems, battles and votes that no store has. Raises `DiskFull` and `NotFound`."""
    write_lines(path, (codec.to_text(_record(item)) for item in items))


def import_jsonl(store: ArenaStore, path: Path) -> Counts:
    """Add what a file has, all or nothing; say how much of it was new.

    Raises `NotFound`, `BadFormat` with the line's number, and `ArenaConflict` for what the store keeps
    otherwise.
    """
    return store.add_rows(_read(path))


def _read(path: Path) -> Iterator[AnyRow]:
    for number, line in read_lines(path):
        try:
            record = codec.from_text(line)
            if len(record) != 1 or not record.keys() <= _READERS.keys():
                raise ValueError(f"has the members {', '.join(record)}, not one of {', '.join(_READERS)}")
            ((kind, value),) = record.items()
            yield _READERS[kind](value)
        except ValueError as error:
            raise bad_line(path, number, str(error)) from error


def _record(item: Item) -> codec.Record:
    match item:
        case System():
            return {"system": codec.from_system(item)}
        case Battle():
            return {"battle": codec.from_battle(item)}
        case vote:
            return {"vote": codec.from_vote(vote)}


def _of_battle(record: codec.Record) -> Iterator[object]:
    yield from (record[name] for name in _OF_BATTLE)
    for side in "ab":
        output = record[side]
        yield from (output["system"], output["digest"], *forms.style_of_form(output["answer"]))
        yield round(sum(output["timings"].values()), 6)


def _of_vote(record: codec.Record) -> Iterator[object]:
    record["tags"] = " ".join(record["tags"])
    yield from (record[name] for name in _OF_VOTE)
    for both in (record[name] for name in forms.ORDERS):
        yield None if both is None else "yes" if consistent((both[0], both[1])) else "no"


def _row(cells: Iterable[Any]) -> str:
    row = io.StringIO()
    # A cell is quoted for the characters of this end, too, which is then left to who writes the lines.
    csv.writer(row, lineterminator="\r\n").writerow([_cell(cell) for cell in cells])
    # A half character, which no file can hold, is a question mark: the table has no texts to be kept whole.
    return row.getvalue().removesuffix("\r\n").encode(errors="replace").decode()


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
