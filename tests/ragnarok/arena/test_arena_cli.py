"""`ragnarok arena …`, run in this process against a store."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI, Request, Response

from ragnarok.arena.configuration import AnswersEntry, PipelineEntry, RemoteEntry
from ragnarok.arena.simulate import Scenario, simulate
from ragnarok.arena.staged import staged
from ragnarok.arena.store import ArenaStore
from ragnarok.types import Answer, Sentence
from tests.ragnarok.arena.battles import SYSTEMS, a_battle, a_vote, many
from tests.ragnarok.conftest import Command
from tests.ragnarok.test_openai import Fake
from tests.service.running import served

PAGE = Path(__file__).resolve().parents[3] / "docs" / "arena.md"


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[str]:
    """A store with 30 battles and votes."""
    path = str(tmp_path / "arena.db")
    store = ArenaStore(path)
    store.add_all(many(30))
    yield path
    store.close()


def test_what_is_exported_is_imported(command: Command, arena: str, tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.jsonl.gz", "a.csv"):
        code, said, _ = command("arena", "export", tmp_path / name, "--store", arena)
        assert (code, said.endswith(f"{name}: 30 battles, 30 votes\n")) == (0, True)
    copy = tmp_path / "copy.db"
    for new in (30, 0):
        code, said, _ = command("arena", "import", tmp_path / "a.jsonl.gz", "--store", copy, "--json")
        assert (code, json.loads(said)) == (0, {"systems": new // 10, "battles": new, "votes": new})
    code, said, _ = command("arena", "import", tmp_path / "a.jsonl", "--store", copy)
    assert (code, said) == (0, "0 systems, 0 battles and 0 votes are new\n")
    assert command("arena", "export", tmp_path / "a.xlsx", "--store", arena)[0] == 2


def trec(run: str, *qids: str) -> str:
    return "\n".join(
        json.dumps(
            {
                "run_id": run,
                "topic_id": qid,
                "topic": f"topic {qid}?",
                "references": ["d1", "d2"],
                "response_length": 3,
                "answer": [{"text": f"Answer of {run}.", "citations": [1]}],
            }
        )
        for qid in qids
    )


def test_judged_pairs_of_trec_answers_are_imported(command: Command, tmp_path: Path) -> None:
    (tmp_path / "one").write_text(trec("one", "1", "2"))
    (tmp_path / "two").write_text(trec("two", "1", "2"))
    said: list[dict[str, object]] = [
        {"qid": "1", "a": "one", "b": "two", "voter": "ann", "answer": "b"},
        {"qid": "1", "a": "one", "b": "two", "voter": "bob", "answer": "tie", "evidence": "a", "tags": ["x"]},
        {
            "qid": "2",
            "a": "two",
            "b": "one",
            "voter": "m",
            "kind": "model",
            "answer": "a",
            "cast": "2026-01-01",
        },
    ]
    pairs, store = tmp_path / "pairs.jsonl", tmp_path / "arena.db"
    words = ("import", pairs, "--answers", tmp_path / "one", "--answers", tmp_path / "two")

    def run() -> tuple[int, str, str]:
        return command("arena", *words, "--topics", "rag", "--store", store, "--json")

    pairs.write_text("\n".join(map(json.dumps, said)))
    for new in ({"systems": 2, "battles": 2, "votes": 3}, {"systems": 0, "battles": 0, "votes": 0}):
        code, told, _ = run()
        assert (code, json.loads(told)) == (0, new)
    kept = ArenaStore(str(store))
    columns = kept.columns()
    assert [columns.systems[place].name for place in columns.a] == ["one", "one", "two"]
    assert (columns.answer.tolist(), columns.by_model.tolist()) == ([1, 2, 0], [False, False, True])
    assert (columns.topic_sets, columns.style[0].tolist()) == (("rag",), [[3, 1, 1], [3, 1, 1]])
    kept.close()
    faults: list[tuple[dict[str, object], str]] = [
        ({"qid": "9"}, "no answer file has an answer of 'one' to topic '9'"),
        ({"b": "three"}, "no answer file has an answer of 'three'"),
        ({"b": "one"}, "meets itself"),
        ({"voter": 3}, "voter is no string"),
        ({"answer": None}, "votes on nothing"),
        ({"a": None}, "lacks a, as strings"),
        ({"why": "so"}, "no 'why'"),
    ]
    for wrong, says in faults:
        pairs.write_text(json.dumps({**said[0], **wrong}))
        code, _, err = run()
        assert (code, says in err, "line 1" in err) == (3, True, True)
    (tmp_path / "two").write_text(trec("one", "2"))
    code, _, err = run()
    assert (code, "the run 'one' answers topic '2' twice" in err) == (3, True)


def test_a_store_can_be_named_by_the_environment(
    command: Command, arena: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGNAROK_ARENA_STORE", f"sqlite:///{arena}")
    code, said, _ = command("arena", "export", tmp_path / "a.csv", "--json")
    assert (code, json.loads(said)["votes"]) == (0, 30)


def test_a_wrong_file_is_named(command: Command, arena: str, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"vote": 3}')
    code, _, err = command("arena", "import", tmp_path / "in.jsonl", "--store", arena)
    assert code == 3
    assert "in.jsonl, line 1: a vote is no JSON object but 3" in err
    assert command("arena", "import", tmp_path / "none.jsonl", "--store", arena)[0] == 4
    code, _, err = command("arena", "rate", "--store", tmp_path)
    assert code == 5
    assert "The arena's database cannot be used" in err


def test_the_board(command: Command, arena: str) -> None:
    code, said, _ = command("arena", "rate", "--store", arena)
    assert code == 0
    rows = [line.split() for line in said.splitlines()]
    assert {row[1] for row in rows[1:4]} == {"bm25", "late", "joint"}
    code, said, _ = command("arena", "rate", "--store", arena, "--json", "--board", "evidence")
    board = json.loads(said)
    assert (code, board["votes"], board["rated"], board["outcomes"]["tie"]) == (0, 30, True, 30)
    assert {round(one["rating"]) for one in board["standings"]} == {1000}


def test_a_board_is_filtered(command: Command, arena: str) -> None:
    def votes(*words: str) -> int:
        code, said, _ = command("arena", "rate", "--store", arena, "--json", *words)
        assert code == 0
        return int(json.loads(said)["votes"])

    assert votes("--topics", "even") == votes("--topics", "") == 15
    assert votes("--since", "2026-05-02") == votes("--until", "2026-04-30") == 0
    assert votes("--since", "2026-05-01", "--until", "2026-05-01") == votes("--voters", "human") == 30
    assert votes("--until", "9999-12-31") == 30
    assert votes("--voters", "model") == 0
    assert votes("--without", "v0", "--without", "v1") == 28
    assert votes("--no-suspects") == 30
    assert votes("--component", "reranker") == 30
    assert votes("--style") == 30
    assert votes("--interval", "bootstrap") == 30
    code, _, err = command("arena", "rate", "--store", arena, "--style", "--interval", "bootstrap")
    assert (code, "leave out one" in " ".join(err.split())) == (2, True)
    code, _, err = command("arena", "rate", "--store", arena, "--topics", "odd")
    assert code == 4
    assert "'odd'" in err


def test_who_is_left_out_is_told_with_the_reason(command: Command, tmp_path: Path) -> None:
    scenario = Scenario({"x": 1100.0, "y": 900.0}, votes=600, voters={"honest": 8, "left": 1})
    store = ArenaStore(str(tmp_path / "arena.db"))
    store.add_all(staged(simulate(scenario)))
    store.close()
    code, _, err = command("arena", "rate", "--store", tmp_path / "arena.db", "--no-suspects")
    assert code == 0
    assert "left out: left-008: 100% of choices fall on the left, where systems are put by lot" in err


def test_systems_that_did_not_meet_are_not_rated(command: Command, tmp_path: Path) -> None:
    store = ArenaStore(str(tmp_path / "arena.db"))
    store.add_all([*SYSTEMS, a_battle(), a_vote()])
    store.close()
    code, said, err = command("arena", "rate", "--store", tmp_path / "arena.db")
    assert code == 0
    assert "–" in said
    assert "no ratings: " in err
    ArenaStore(str(tmp_path / "empty.db")).close()
    empty = command("arena", "rate", "--store", tmp_path / "empty.db")
    assert empty[0] == 0
    assert "no ratings: " in empty[2]


@pytest.mark.parametrize(
    "words",
    [
        ("rate",),
        ("export", "all.jsonl"),
        ("judge", "--openai-base-url", "http://x/v1", "--openai-model", "m"),
    ],
)
@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_only_import_makes_a_store(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], form: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said, err = command("arena", *words, "--store", form.format(tmp_path / "misspelt.db"))
    assert (code, said) == (4, "")
    assert "misspelt.db: there is no such arena" in err
    assert list(tmp_path.iterdir()) == []


def test_the_board_is_drawn(command: Command, arena: str, tmp_path: Path) -> None:
    picture, matrix = tmp_path / "ratings.svg", tmp_path / "wins.svg"
    assert command("arena", "rate", "--store", arena, "--picture", picture, "--matrix", matrix)[0] == 0
    for file in (picture, matrix):
        text = file.read_text()
        assert "<svg" in text
        assert text.rstrip().endswith("</svg>")
        assert "joint" in text


def test_a_rehearsal_finds_the_truth(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "rehearsal.jsonl"
    words = ("a=1000", "b=1100", "c=1300", "--votes", "400", "--careless", "1", "--seed", "3", "-o", file)
    code, said, _ = command("arena", "simulate", *words, "--json")
    board = json.loads(said)
    assert (code, [one["system"] for one in board["standings"]]) == (0, ["c", "b", "a"])
    code, said, err = command("arena", "simulate", *words)
    assert code == 0
    assert "a 867, b 967, c 1167" in err
    store = str(tmp_path / "arena.db")
    code, said, _ = command("arena", "import", file, "--store", store, "--json")
    assert (code, json.loads(said)) == (0, {"systems": 3, "battles": 400, "votes": 400})
    _, said, _ = command("arena", "rate", "--store", store, "--json")
    assert json.loads(said)["standings"] == board["standings"]
    for wrong in (["a=1", "a=2"], ["a", "b=1"], ["a=x", "b=1"], ["=1", "b=1"]):
        assert command("arena", "simulate", *wrong)[0] == 2
    for wrong in (["a=1"], ["a=nan", "b=1"], ["a=1", "b=-inf"]):
        assert command("arena", "simulate", *wrong)[0] == 3


def test_what_cannot_be_written_is_refused_before_anything_is_done(command: Command, tmp_path: Path) -> None:
    long = tmp_path / f"{'x' * 250}.jsonl"
    store = str(tmp_path / "none.db")
    for words in (
        # Each has another slip, which would come up later.
        ("simulate", "a=1", "-o", long),
        ("export", long, "--store", store),
        ("rate", "--picture", long, "--store", store),
        ("rate", "--matrix", long, "--store", store),
    ):
        code, said, err = command("arena", *words)
        assert (code, said) == (4, "")
        assert "a name has 256 bytes" in err
    # As long as a name may be.
    file = tmp_path / f"{'x' * 249}.jsonl"
    assert command("arena", "simulate", "a=1000", "b=1100", "-o", file)[0] == 0
    assert command("arena", "import", file, "--store", store)[0] == 0


def test_a_model_judges_what_it_has_not_judged(command: Command, arena: str) -> None:
    fake = Fake()
    fake.pieces = ('{"better": "tie"}',)
    with served(fake.app()) as address:
        words = ("arena", "judge", "--store", arena, "--openai-base-url", f"{address}/v1", "--json")
        for limit, new in ((2, 2), (30, 28), (30, 0)):
            code, said, _ = command(*words, "--openai-model", "judge", "--limit", limit)
            told = json.loads(said)
            assert (code, told["judge"], told["votes"]) == (0, "judge", new)
            pairs = {board: same["pairs"] for board, same in told["consistency"].items()}
            # Of all battles that it judged, whenever that was.
            assert pairs == {"answer": 2 if limit == 2 else 30, "evidence": 2 if limit == 2 else 30}
    assert len(fake.asked) == 30 * 2 * 2
    _, said, _ = command("arena", "rate", "--store", arena, "--voters", "model", "--json")
    assert json.loads(said)["outcomes"]["tie"] == 30
    code, _, err = command("arena", "judge", "--store", arena, "--openai-model", "judge")
    assert code == 3
    assert "RAGNAROK_OPENAI_BASE_URL" in err


def test_a_battle_without_a_verdict_keeps_no_other_from_its_own(command: Command, tmp_path: Path) -> None:
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        asked = (await request.json())["messages"][-1]["content"]
        said = "I would rather not." if "mute?" in asked else '{"better": "tie"}'
        chunk = {"choices": [{"delta": {"content": said}, "finish_reason": "stop"}]}
        return Response(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n", media_type="text/event-stream")

    store = ArenaStore(str(tmp_path / "arena.db"))
    store.add_all([*SYSTEMS, replace(a_battle("b1"), question="mute?"), a_battle("b2"), a_battle("b3")])
    with served(app) as address:
        words = ("arena", "judge", "--store", tmp_path / "arena.db", "--openai-base-url", f"{address}/v1")
        for new in (2, 0):
            code, said, err = command(*words, "--openai-model", "judge", "--json")
            assert (code, json.loads(said)["votes"]) == (5, new)
            assert "passed over: b1: judge gave no verdict in 3 replies, the last one 'I would rather" in err
            assert "judge gave no verdict on 1 battles, 'b1' for one" in err
    assert store.unjudged("judge") == ["b1"]
    store.close()


def test_a_model_that_always_takes_the_left_is_told_of(command: Command, arena: str) -> None:
    fake = Fake()
    fake.pieces = ('{"better": "first"}',)
    with served(fake.app()) as address:
        words = ("arena", "judge", "--store", arena, "--openai-base-url", f"{address}/v1")
        code, said, _ = command(*words, "--openai-model", "judge", "--limit", 2, "--board", "answer")
    assert code == 0
    assert "answer: the same in both orders 0% of 2 times" in said
    assert "always the left 100%, always the right 0%" in said


def test_a_model_here_judges(command: Command, tmp_path: Path, saved: Path) -> None:
    battle = a_battle()
    answer = Answer("q", (Sentence("Yes."),))
    short = [replace(side, answer=answer, hits=()) for side in (battle.a, battle.b)]
    store = ArenaStore(str(tmp_path / "arena.db"))
    store.add_all([*SYSTEMS, replace(battle, a=short[0], b=short[1])])
    code, said, _ = command(
        "arena", "judge", "--store", tmp_path / "arena.db", "-m", saved, "--board", "answer"
    )
    assert (code, said.startswith("1 votes of ")) == (0, True)
    (vote,) = store.votes_on("b1")
    assert (vote.kind, vote.evidence) == ("model", None)
    store.close()


def test_every_key_of_the_configuration_is_documented() -> None:
    page = PAGE.read_text()
    for kind in (PipelineEntry, RemoteEntry, AnswersEntry):
        for name, field in kind.model_fields.items():
            assert f"| `{name}` | {field.description}" in page
