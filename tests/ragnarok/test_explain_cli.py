"""`ragnarok explain` over a tiny random model, its page of HTML, and how a text is cut into pieces."""

import json
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ragnarok.cli import explain
from ragnarok.explanation import Piece, explanation_html, pieces
from ragnarok.rerankers import LateAttentionReranker
from ragnarok.rerankers.attention import highlights
from ragnarok.types import Hit, Passage
from rerank.icr import TokenScore
from rerank.late.explain import Explanation, HeadScore
from rerank.late.reranker import LateReranker
from rerank.model import Model, load_model
from rerank.profile import HeadProfile, ModelIdentity, Signal, write_profile
from tests.ragnarok.conftest import Command

TEXT = "The tower is in Paris. <script>alert('שלום 🦜')</script>"
QUERY = "where is the tower?"

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def profile(small: Model) -> HeadProfile:
    signals = (Signal(0, 1, "query", 0.7), Signal(1, 3, "null", -0.8), Signal(2, 0, "suffix", 0.3, mean=1.0))
    return HeadProfile(ModelIdentity.of(small), "late-1", signals=signals, passage_tokens=64, position=80)


@pytest.fixture
def call(
    saved: Path,
    profile: HeadProfile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Command,
) -> Call:
    """Runs `ragnarok explain` in this process, in an empty folder: code, output, and what is not progress."""
    write_profile(profile, tmp_path / "profile.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAGNAROK_HOME", str(tmp_path))
    monkeypatch.setenv("RAGNAROK_MODEL", str(saved))
    monkeypatch.setenv("RAGNAROK_PROFILE", "profile.json")

    def run(*words: object, name: str = "explain") -> tuple[int, str, str]:
        return command(name, *words)

    return run


def test_json_holds_the_whole_explanation(call: Call, saved: Path, profile: HeadProfile) -> None:
    code, out, _ = call(QUERY, TEXT, "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["query"], found["text"], found["docid"], found["cut"]) == (QUERY, TEXT, None, False)
    expected = LateReranker(load_model(str(saved)), profile).explain(QUERY, TEXT)
    assert found["score"] == pytest.approx(expected.score, rel=1e-5)
    assert found["tokens"][3] == pytest.approx(expected.tokens[3]._asdict(), rel=1e-4)
    assert len(found["tokens"]) == len(expected.tokens)
    assert [head["rows"] for head in found["heads"]] == ["query", "null", "suffix"]


def test_the_terminal_shows_text_and_heads(call: Call) -> None:
    code, out, err = call(QUERY, TEXT, "--strongest", 2)
    assert (code, err) == (0, "")
    first, shown, *table = out.splitlines()
    assert first.startswith("score ")
    assert shown.translate(str.maketrans("", "", "«»‹›")) == TEXT
    assert "«" in shown
    assert len(table) == 3


def test_a_passage_of_an_index_is_explained(call: Call, tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "title": "Apples", "text": "They grow on trees."}\n')
    assert call("corpus.jsonl", "--name", "food", "--no-dense", name="index")[0] == 0
    code, out, _ = call("where do apples grow?", "--docid", "a", "--index", "food", "--json")
    found = json.loads(out)
    assert (code, found["docid"], found["text"]) == (0, "a", "Apples\nThey grow on trees.")
    code, out, err = call("where?", "--docid", "zebra", "--index", "food")
    assert (code, out) == (4, "")
    assert "zebra" in err


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        ([QUERY], 2, "either a text or --docid"),
        ([QUERY, TEXT, "--docid", "a"], 2, "either a text or --docid"),
        ([" ", TEXT], 3, "empty"),
        ([QUERY, TEXT, "--html", "no/such/folder.html"], 2, "there is no folder no/such"),
        ([QUERY, TEXT, "--profile", "missing.json"], 3, "missing.json"),
    ],
)
def test_bad_input_is_refused_before_the_model_is_loaded(
    call: Call, words: list[str], code: int, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGNAROK_MODEL", "no-such-model")
    monkeypatch.setenv("COLUMNS", "160")
    ended, out, err = call(*words)
    assert (ended, out) == (code, "")
    assert named in err


class Page(HTMLParser):
    """What a browser would make of a page: its elements, and the text of marks and others."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag if tag != "p" else f"p.{dict(attrs).get('class')}")

    def handle_data(self, data: str) -> None:
        if "p.text" in self.tags and "table" not in self.tags:
            self.words["text"] = self.words.get("text", "") + data


def test_the_page_escapes_everything_and_shows_the_text(call: Call, tmp_path: Path) -> None:
    code, _, err = call("<img src=x onerror=alert(1)> tower", TEXT, "--html", "page.html")
    assert code == 0
    assert "page.html" in err
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    parsed = Page(page)
    assert {"script", "img"} & set(parsed.tags) == set()
    assert parsed.words["text"].strip() == TEXT
    assert "mark" in parsed.tags
    assert "color-scheme: light dark" in page


def test_a_page_that_cannot_be_written_is_said_to_be(call: Call) -> None:
    code, out, err = call(QUERY, TEXT, "--html", f"{'long' * 99}.html")
    assert (code, out) == (4, "")
    assert "cannot be written" in err


def test_the_page_says_what_was_not_read() -> None:
    found = Explanation(1.5, 1.0, [TokenScore(0, 3, 0.5)], [HeadScore(3, 1, "query", 0.5)], cut=True)
    page = explanation_html("q", "one & more", found)
    assert '<span class="unread" title="not read"> &amp; more</span>' in page
    assert "<td>3-1</td><td>query</td><td>+0.5000</td>" in page


def test_pieces_cover_the_text_once() -> None:
    # Two bytes of the parrot, a blank that no token has, and a token without characters.
    tokens = [TokenScore(0, 1, 1.0), TokenScore(0, 1, 3.0), TokenScore(2, 4, -2.0), TokenScore(4, 4, 9.0)]
    assert pieces("🦜 ab rest", tokens) == [
        Piece("🦜", 4.0, 1.0),
        Piece(" ", 0.0, 0.0),
        Piece("ab", -2.0, -0.5),
    ]
    assert pieces("", [TokenScore(0, 0, 1.0)]) == []
    assert pieces("ab", [TokenScore(0, 2, 0.0)]) == [Piece("ab", 0.0, 0.0)]


def test_colours_follow_the_share() -> None:
    parts = [
        Piece("so", 4.0, 1.0),
        Piece(" no", -2.0, -0.5),
        Piece("\x1b[2J", 0.0, 0.0),
        Piece("x", 2.0, 0.5),
    ]
    assert explain.marked(parts, plain=True).plain == "«so»‹ no› [2J«x»"
    shown = explain.marked(parts, plain=False)
    assert shown.plain == "so no [2Jx"
    assert [str(span.style) for span in shown.spans] == ["bold black on yellow", "blue", "bold yellow"]


class Counted(LateReranker):
    """A re-ranker that remembers what it was asked to explain together."""

    asked: tuple[tuple[str, ...], ...] = ()

    def explain_all(self, query: str, texts: Sequence[str]) -> list[Explanation]:
        self.asked += (tuple(texts),)
        return super().explain_all(query, texts)


@pytest.mark.parametrize("evidence", [0, 2, 9])
def test_the_best_hits_are_explained_together(small: Model, profile: HeadProfile, evidence: int) -> None:
    texts = ["Bananas are rich in potassium.", TEXT, "", "A parrot speaks of towers."]
    hits = [Hit(f"d{n}", 9.0 - n, n, Passage(f"d{n}", text, "Title")) for n, text in enumerate(texts, 1)]
    reader = Counted(small, profile)
    made = LateAttentionReranker(reader, first_stage=0, evidence=evidence)
    ranked = made.rerank(QUERY, hits)
    made.close()
    best = tuple(hit.passage.contents for hit in ranked[:evidence])
    assert reader.asked == ((best,) if best else ())
    for hit in ranked:
        shown = highlights(hit, reader.explain(QUERY, hit.passage.contents).tokens)
        assert hit.highlights == (shown if hit.rank <= evidence else ())
    assert any(hit.highlights for hit in ranked) == bool(evidence)
