"""An arena as files: whole as JSONL, flat as CSV, and what is refused on the way back."""

import csv
import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragnarok.arena import codec, forms
from ragnarok.arena.files import COLUMNS, export_csv, export_jsonl, import_jsonl
from ragnarok.arena.rows import battle_row, system_row, vote_row
from ragnarok.arena.store import ArenaStore, Counts
from ragnarok.arena.types import OUTCOMES, Vote
from ragnarok.errors import ArenaConflict, BadFormat, NotFound
from tests.ragnarok.arena.battles import NOON, SYSTEMS, a_battle, a_vote, many


@pytest.fixture
def full(tmp_path: Path) -> Iterator[ArenaStore]:
    """A store with ten battles, the last without a vote."""
    made = ArenaStore(str(tmp_path / "full.db"))
    made.add_all(many(10))
    made.add_battle(a_battle("=1+1", topics="@set"))
    made.add_vote(
        Vote("b0", "a judge", "model", NOON, None, "both_bad", evidence_orders=("both_bad", "both_bad"))
    )
    yield made
    made.close()


@pytest.mark.parametrize("name", ["arena.jsonl", "arena.jsonl.gz"])
def test_jsonl_comes_back_whole(full: ArenaStore, tmp_path: Path, name: str) -> None:
    export_jsonl(full, tmp_path / name)
    copy = ArenaStore(str(tmp_path / "copy.db"))
    assert import_jsonl(copy, tmp_path / name) == Counts(3, 11, 11)
    assert list(copy.texts()) == list(full.texts())
    assert import_jsonl(copy, tmp_path / name) == Counts()
    export_jsonl(copy, tmp_path / "again.jsonl")
    opened = gzip.open if name.endswith("gz") else open
    with opened(tmp_path / name, "rb") as file:
        assert file.read() == (tmp_path / "again.jsonl").read_bytes()
    copy.close()


def test_a_row_says_who_met_and_what_was_said(full: ArenaStore, tmp_path: Path) -> None:
    export_csv(full, tmp_path / "votes.csv")
    with (tmp_path / "votes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 12
    first = rows[0]
    assert (first["battle_id"], first["system_a"], first["system_b"]) == ("b0", "bm25", "late")
    assert (first["words_a"], first["citations_a"], first["sources_a"], first["words_b"]) == (
        "3",
        "2",
        "2",
        "5",
    )
    assert (first["seconds_a"], first["digest_b"]) == ("0.25", SYSTEMS[1].digest)
    assert (first["voter"], first["kind"], first["answer"], first["evidence"]) == ("v0", "human", "a", "tie")
    assert first["cast"] == "2026-05-01T12:00:00.123456+00:00"
    assert (rows[10]["kind"], rows[10]["answer"]) == ("model", "")
    assert [rows[10][f"{board}_consistent"] for board in ("answer", "evidence")] == ["", "yes"]
    assert first["answer_consistent"] == ""
    unvoted = rows[11]
    assert (unvoted["battle_id"], unvoted["topics"], unvoted["voter"]) == ("'=1+1", "'@set", "")
    text = (tmp_path / "votes.csv").read_text()
    assert "banana" not in text
    assert "'=short" in text


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d"])
def test_no_cell_is_a_formula(tmp_path: Path, start: str) -> None:
    store = ArenaStore(str(tmp_path / "arena.db"))
    system = replace(SYSTEMS[0], name=f"{start}cmd|' /C calc'!A0")
    store.add_systems([system, SYSTEMS[1]])
    store.add_battle(a_battle(f"{start}1", system, SYSTEMS[1], topics=f"{start}t"))
    store.add_vote(replace(a_vote(f"{start}1", f"{start}v"), tags=(f"{start}x", 'say "hi", all\nof you')))
    export_csv(store, tmp_path / "votes.csv")
    with (tmp_path / "votes.csv").open(newline="", encoding="utf-8") as file:
        _, row = csv.reader(file)
    assert [cell for cell in row if cell.startswith(start)] == []
    assert f'\'{start}x say "hi", all\nof you' in row
    assert any(cell.startswith(f"'{start}cmd") for cell in row)
    store.close()


@pytest.mark.parametrize(
    ("tag", "cell"),
    [("one\ntwo", "one\ntwo"), ("one\r=two", "one\r=two"), ("half \ud800 of one", "half ? of one")],
)
def test_a_cell_is_one_cell_whatever_stands_in_it(tmp_path: Path, tag: str, cell: str) -> None:
    store = ArenaStore(str(tmp_path / "arena.db"))
    store.add_all([*SYSTEMS, a_battle(), replace(a_vote(), tags=(tag,))])
    export_csv(store, tmp_path / "votes.csv")
    store.close()
    with (tmp_path / "votes.csv").open(newline="", encoding="utf-8") as file:
        head, row = csv.reader(file)
    assert row[head.index("tags")] == cell


def lines() -> list[str]:
    records = [
        *({"system": codec.from_system(system)} for system in SYSTEMS),
        {"battle": codec.from_battle(a_battle())},
        {"vote": codec.from_vote(a_vote())},
    ]
    return [json.dumps(record) for record in records]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('{"vote"', '{"Vote"', "line 5: has the members Vote, not one of system, battle, vote"),
        ('{"vote"', "{", "line 5"),
        ('"human"', '"dog"', "kind is 'dog', and not one of human, model"),
        ('"answer": "a"', '"answer": "A"', "answer is 'A', and not one of a, b, tie, both_bad"),
        ('"tags"', '"tag"', "a vote has no 'tag', only"),
        ('"voter": "ann", ', "", "this one lacks voter"),
        ('"cast": "2026', '"cast": "yesterday', "cast is 'yesterday"),
        ('"seed": ', '"seed": "', "line 4"),
        ('"citations": [0, 1]', '"citations": [0, 9]', r"side a: a sentence cites \(0, 9\)"),
        ('"score": 1.5', '"score": NaN', "score is no finite number but nan"),
        ('"score": 1.5', '"score": true', "score is no finite number but True"),
        ('"system": "late"', '"system": "bm25"', "meets itself"),
        ('"battle_id": "b1", "created"', '"battle_id": "b\\n1", "created"', "all of them printable"),
        ('"reranker": "late"', '"reranker": "other"', "line 2: digest .* is not that of the components"),
        ('"hits": [', '"hits": [[], ', "a hit is no JSON object"),
        ('"score": 1.5', f'"score": {10**400}', "line 4: side a: score is no finite number but 1000"),
        ('"answer_orders": null', '"answer_orders": ["a"]', "line 5: answer_orders is two verdicts"),
        ('"answer_orders": null', '"answer_orders": ["a", "b"]', "line 5: answer_orders is a model's alone"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_imported(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = "\n".join(lines())
    assert old in text
    (tmp_path / "in.jsonl").write_text(text.replace(old, new, 1))
    store = ArenaStore(str(tmp_path / "arena.db"))
    with pytest.raises(BadFormat, match=says):
        import_jsonl(store, tmp_path / "in.jsonl")
    assert store.counts() == Counts()
    store.close()


def turned(value: object) -> object:
    """The same JSON with the members of every object in another order."""
    if isinstance(value, dict):
        return {name: turned(value[name]) for name in reversed(value)}
    return list(map(turned, value)) if isinstance(value, list) else value


def test_the_order_of_members_and_what_is_left_out_change_no_row() -> None:
    battle, vote = codec.from_battle(a_battle()), codec.from_vote(a_vote())
    battle["a"]["timings"] = {"rerank": 1, "answer": 2.5}
    kept = battle_row(battle)
    assert battle_row(turned(battle)) == kept
    assert vote_row(turned(vote)) == vote_row(vote)
    system = system_row(turned(codec.from_system(SYSTEMS[1])))
    assert system == system_row(codec.from_system(SYSTEMS[1]))
    # Members stand sorted in what is kept, whoever wrote them.
    for record in (kept.record, system.record):
        assert codec.to_text(json.loads(record)) == record
    hit = battle["a"]["hits"][0]
    assert hit.pop("highlights") == []
    hit["unknown"] = 1
    assert battle_row(battle) == kept


MARK = {"end": 4, "start": 0, "weight": 0.5}


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("score", float("nan")),
        ("score", float("-inf")),
        ("first_score", 10**400),
        ("first_score", "1"),
        ("rank", True),
        ("first_rank", 1.0),
        ("title", None),
        ("highlights", {}),
        ("highlights", [{**MARK, "weight": float("inf")}]),
        ("highlights", [MARK, {**MARK, "end": True}]),
        ("highlights", [MARK, {**MARK, "start": 0.0}]),
        ("highlights", [MARK, []]),
    ],
)
def test_a_hit_is_checked_in_whatever_order_its_members_stand(member: str, value: object) -> None:
    hit = codec.from_battle(a_battle())["a"]["hits"][0] | {"highlights": [MARK]}
    assert forms.hit_form(hit) == forms.hit_form(turned(hit)) == hit
    for record in (hit | {member: value}, turned(hit | {member: value})):
        with pytest.raises(ValueError, match="is no"):
            forms.hit_form(record)


def test_what_is_kept_otherwise_is_not_imported(full: ArenaStore, tmp_path: Path) -> None:
    before = list(full.texts())
    (tmp_path / "in.jsonl").write_text("\n".join(lines()))
    with pytest.raises(ArenaConflict, match="'b1'"):
        import_jsonl(full, tmp_path / "in.jsonl")
    (tmp_path / "in.jsonl").write_text(lines()[-1].replace('"b1"', '"b99"'))
    with pytest.raises(NotFound, match="'b99'"):
        import_jsonl(full, tmp_path / "in.jsonl")
    assert list(full.texts()) == before


words = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)
votes = st.builds(
    Vote,
    battle_id=words,
    voter=words,
    kind=st.sampled_from(forms.KINDS),
    cast=st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(lambda one: one.replace(tzinfo=UTC)),
    answer=st.sampled_from(OUTCOMES),
    evidence=st.none() | st.sampled_from(OUTCOMES),
    tags=st.lists(st.text(max_size=9), max_size=3).map(tuple),
)


@given(votes, st.text(max_size=40), st.integers())
def test_any_vote_and_battle_comes_back(vote: Vote, question: str, seed: int) -> None:
    assert codec.to_vote(json.loads(codec.to_text(codec.from_vote(vote)))) == vote
    assert codec.from_micros(codec.to_micros(vote.cast)) == vote.cast
    battle = replace(a_battle(), question=question, seed=seed)
    text = codec.to_text(codec.from_battle(battle))
    assert codec.to_battle(codec.from_text(text)) == battle
    assert codec.to_text(codec.from_battle(codec.to_battle(json.loads(text)))) == text
