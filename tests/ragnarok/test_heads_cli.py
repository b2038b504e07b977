"""`ragnarok heads` over a tiny random model: profiles shown, imported, found out, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ragnarok.cli import app
from ragnarok.cli.heads import app as heads
from rerank.detect import Example, core_scores
from rerank.icr import IcrOptions, InContextReranker
from rerank.model import Model, load_model
from rerank.profile import HeadProfile, JointHead, ModelIdentity, Signal, read_profile, write_profile
from tests.ragnarok.conftest import Command

CORPUS = {
    "a": "The tower is in Paris. It was built in 1889 for a fair.",
    "b": "Bananas are rich in potassium. They grow in warm places.",
    "c": "A parrot speaks of towers and of fruit all day long.",
}
RUN = "1 Q0 a 1 3 t\n1 Q0 b 2 2 t\n1 Q0 c 3 1 t\n2 Q0 c 1 3 t\n2 Q0 b 2 2 t\n3 Q0 a 1 1 t\n"
QRELS = "1 0 a 2\n1 0 b 0\n2 0 b 1\n2 0 c 1\n"

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, command: Command, tmp_path: Path) -> Call:
    """Runs `ragnarok heads …` in this process, in an empty folder: code, output, and what is not progress."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.chdir(tmp_path)

    return partial(command, "heads")


@pytest.fixture
def own(small: Model) -> HeadProfile:
    """A profile with every part, of the tiny model."""
    return HeadProfile(
        ModelIdentity.of(small),
        "late-1",
        signals=(Signal(2, 5, "query", -0.75), Signal(0, 1, "suffix", 0.5)),
        joint=(JointHead(1, 2),),
        gates=((0.0, 1.0), (0.5, 0.25), (0.0, 0.0), (0.79, 0.8)),
        citing=((3, 0),),
        provenance={"signals.model": "tiny [bold]"},
    )


@pytest.fixture
def judged(tmp_path: Path) -> list[str]:
    """The arguments that name a run, its topics, its passages and what answers them."""
    (tmp_path / "run").write_text(RUN)
    (tmp_path / "topics.tsv").write_text("1\twhere is the tower?\n2\twhat is rich?\n3\twhat?\n")
    (tmp_path / "qrels").write_text(QRELS)
    lines = [json.dumps({"_id": name, "text": text}) for name, text in CORPUS.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines))
    return ["run", "-t", "topics.tsv", "--qrels", "qrels", "--corpus", "corpus.jsonl"]


@pytest.mark.parametrize("name", [command.name for command in heads.registered_commands])
def test_help_teaches(name: str) -> None:
    result = CliRunner().invoke(app, ["heads", name, "--help"])
    assert result.exit_code == 0
    assert f"Example: ragnarok heads {name}" in " ".join(result.output.replace("│", " ").split())


def test_show_says_what_a_profile_holds(call: Call, own: HeadProfile) -> None:
    write_profile(own, "own.json")
    code, out, err = call("show", "own.json")
    assert (code, err) == (0, "")
    said = " ".join(out.split())
    assert "llama: 4 layers, 6 heads, 2 KV heads of 8, hidden 48, vocabulary 512" in said
    assert "query at 512 depth 3 of 4 layers run" in said
    # Two groups of 8 numbers of 2 bytes.
    assert "groups 2 of 8: 0-0 2-1 document token 32 bytes" in said
    assert "2, the strongest: 2-5 query -0.7500 0-1 suffix +0.5000" in said
    assert "joint heads 1-2 citing heads 3-0 signals.model tiny [bold]" in said
    assert out.splitlines()[-4:] == ["   0 ▕ █▏", "   1 ▕▒░▏", "   2 ▕  ▏", "   3 ▕▓█▏"]
    assert "suffix" not in call("show", "own.json", "--strongest", 1)[1]


def test_show_speaks_json(call: Call, own: HeadProfile) -> None:
    write_profile(own, "own.json")
    shown = json.loads(call("show", "own.json", "--json")[1])
    assert shown["signals"][0] == {
        "layer": 0,
        "head": 1,
        "rows": "suffix",
        "weight": 0.5,
        "mean": 0.0,
        "scale": 1.0,
    }
    assert (shown["depth"], shown["groups"], shown["token_bytes"]) == (3, [[0, 0], [2, 1]], 32)
    assert shown["digest"] == own.digest


def test_show_finds_the_shipped_profile(
    call: Call, own: HeadProfile, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rerank.profile.PROFILES", tmp_path)
    code, out, err = call("show", "--model", saved)
    assert (code, out) == (4, "")
    assert f"no profile is shipped for {saved}" in err
    write_profile(own, "shipped.json")
    assert json.loads(call("show", "--model", saved, "--json")[1])["digest"] == own.digest
    # A file and a model: shown if they fit.
    assert call("show", "shipped.json", "--model", saved)[0] == 0


def test_import_joins_parts(call: Call, saved: Path) -> None:
    Path("duo").mkdir()
    Path("duo/full_attention_heads.tsv").write_text("1\t0\n" * 4)
    Path("duo/config.json").write_text('{"sink_size": 4}')
    Path("qr.yaml").write_text("attn_head_set: 1-5,0-2\n")
    Path("core.json").write_text(json.dumps({f"{n}-{h}": n / 10 for n in range(4) for h in range(6)}))
    assert call("import", "duo", "--format", "duo", "-m", saved, "-o", "p.json")[1].startswith("gates: 8\n")
    code, out, _ = call(
        "import", "qr.yaml", "--format", "qrhead", "--into", "p.json", "-o", "p.json", "--json"
    )
    profile = read_profile("p.json")
    assert code == 0
    assert json.loads(out) == {"joint heads": 2, "digest": profile.digest, "output": "p.json"}
    assert profile.gates == ((1.0, 0.0),) * 4
    assert profile.joint == (JointHead(0, 2), JointHead(1, 5))
    assert profile.provenance["gates.sink"] == 4
    words = ["import", "core.json", "--format", "core", "--into", "p.json", "--top", 2, "-o", "q.json"]
    assert call(*words, "--model", saved)[0] == 0
    assert read_profile("q.json").joint == (JointHead(3, 0), JointHead(3, 1))


@pytest.mark.parametrize("method", ["core", "qrhead"])
def test_detect_keeps_the_strongest(
    method: str, call: Call, own: HeadProfile, saved: Path, judged: list[str]
) -> None:
    write_profile(own, "own.json")
    words = [
        *judged,
        "--model",
        saved,
        "--method",
        method,
        "--top",
        3,
        "--into",
        "own.json",
        "-o",
        "new.json",
    ]
    code, out, err = call("detect", *words, "--json")
    assert (code, err) == (0, "")
    report, profile = json.loads(out), read_profile("new.json")
    # Topic 2 has nothing but answers, and topic 3 none.
    assert report["topics"] == profile.provenance["joint.topics"] == (1 if method == "core" else 2)
    scores = list(report["heads"].values())
    assert scores == sorted(scores, reverse=True)
    assert {f"{j.layer}-{j.head}" for j in profile.joint} == set(report["heads"])
    assert (profile.signals, profile.gates) == (own.signals, own.gates)
    if method == "core":
        reader = InContextReranker(load_model(f"{saved}"), IcrOptions(instruction="ie"))
        example = Example("where is the tower?", list(CORPUS.values()), frozenset({0}))
        table = core_scores(reader, [example])
        assert scores == pytest.approx(sorted((s for row in table for s in row), reverse=True)[:3], abs=1e-5)


def test_detect_shuffles_by_seed(call: Call, saved: Path, judged: list[str]) -> None:
    words = ["detect", *judged, "--model", saved, "--method", "qrhead", "-o", "p.json", "--json"]
    first, again = (call(*words, "--shuffle", 1)[1] for _ in range(2))
    assert first == again
    assert read_profile("p.json").provenance["joint.shuffle"] == 1
    assert call(*words)[1] != first


def test_detect_counts_a_grade(call: Call, saved: Path, judged: list[str]) -> None:
    words = ["detect", *judged, "--model", saved, "-o", "p.json"]
    code, out, err = call(*words, "--grade", 3)
    assert (code, out) == (4, "")
    assert "qrels grades 3 or more" in err
    code, out, _ = call(*words, "--grade", 2)
    assert (code, out.splitlines()[0]) == (0, "topics: 1")


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (["show"], 2, "give a profile's file, or --model"),
        (["show", "nothing.json"], 3, "nothing.json: it cannot be read"),
        (["show", "own.json", "--model", "OTHER"], 3, "layers is 4, and this model's is 5"),
        (["show", "--model", "BROKEN"], 5, "config.json cannot be used"),
        (["show", "--model", "nothing"], 4, "smollm2-135m"),
        (["show", "--model", "n" * 5000], 4, "smollm2-135m"),
        (["show", "--model", "~nobody-of-this-name/x"], 4, "smollm2-135m"),
        (["import", "x", "--format", "duo", "-o", "p.json"], 2, "give --model or --into"),
        (["import", "x", "--format", "duo", "--into", "own.json", "-o", "no/p.json"], 2, "no folder no"),
        (["import", "x", "--format", "duo", "-o", "p" * 256], 4, "256 bytes"),
        (["import", "x", "--format", "rank", "--into", "own.json", "-o", "p.json"], 2, "'rank'"),
        (
            ["import", "x", "--format", "duo", "--into", "own.json", "-o", "p.json"],
            3,
            "full_attention_heads.tsv",
        ),
        (
            ["import", "x", "--format", "core", "--into", "own.json", "-o", "p.json"],
            3,
            "x: it cannot be read",
        ),
        (
            ["import", "x", "--format", "core", "--into", "own.json", "-m", "OTHER", "-o", "p.json"],
            3,
            "layers is 4, and this model's is 5",
        ),
        (["detect", "JUDGED", "--into", "x.json", "-o", "p.json"], 3, "x.json: it cannot be read"),
        (
            ["detect", "JUDGED", "--model", "SAVED", "--into", "foreign.json", "-o", "p.json"],
            3,
            "hidden is 96, and this model's is 48",
        ),
        (
            ["detect", "JUDGED", "--model", "SAVED", "--top", "25", "-o", "p.json"],
            3,
            "from 1 to the 24 heads",
        ),
        (
            ["detect", "run", "-t", "topics.tsv", "--qrels", "qrels", "-o", "p.json"],
            2,
            "give --corpus or --index",
        ),
    ],
)
def test_what_is_refused(
    words: list[str],
    code: int,
    named: str,
    call: Call,
    own: HeadProfile,
    saved: Path,
    judged: list[str],
    tmp_path: Path,
) -> None:
    write_profile(own, "own.json")
    write_profile(replace(own, model=replace(own.model, hidden=96)), "foreign.json")
    for folder, change in (("other", '"num_hidden_layers": 5'), ("broken", '"num_hidden_layers": "four"')):
        (tmp_path / folder).mkdir()
        config = (saved / "config.json").read_text().replace('"num_hidden_layers": 4', change)
        (tmp_path / folder / "config.json").write_text(config)
    places = {"OTHER": ["other"], "BROKEN": ["broken"], "SAVED": [str(saved)], "JUDGED": judged}
    ended, out, err = call(*(part for word in words for part in places.get(word, [word])))
    assert (ended, out) == (code, ""), err
    assert named in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err
    assert not Path("p.json").exists()
