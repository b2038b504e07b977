"""The arena's configuration: what it opens, what is shared, and what it refuses."""

import json
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from indexes import build_index, open_index
from ragnarok.arena.assembled import PipelineContender
from ragnarok.arena.configuration import read_configuration
from ragnarok.arena.contenders import Contender, Roster, output_of
from ragnarok.arena.lent import Lent
from ragnarok.arena.reranking import Rerankers
from ragnarok.arena.systems import open_roster
from ragnarok.assemble import PipelineSettings
from ragnarok.errors import (
    BadFormat,
    BadQuery,
    BadSetting,
    NotFound,
)
from ragnarok.generators import LocalGenerator, QuoteGenerator
from ragnarok.pipeline import Reranked, Result, Retrieved
from ragnarok.rerankers import AttentionReranker, KeepOrder, LateAttentionReranker
from rerank.late.batcher import Batcher
from rerank.model import load_model
from rerank.profile import JointHead, write_profile
from tests.rerank.test_late import profile_of

DOCUMENTS = [
    {"id": "d1", "title": "Fruit", "text": "Bananas are rich in potassium."},
    {"id": "d2", "text": "A mill grinds grain into flour."},
]


def answer_line(qid: str, run: str = "theirs", cited: str = "d1") -> str:
    record = {
        "metadata": {
            "team_id": "t",
            "run_id": run,
            "type": "automatic",
            "narrative_id": qid,
            "narrative": "q?",
        },
        "references": [cited],
        "answer": [{"text": f"The answer to {qid}.", "citations": [0]}],
    }
    return json.dumps(record)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index `tiny`, a topic set and an answer file."""
    folder = tmp_path_factory.mktemp("arena")
    corpus = folder / "corpus.jsonl"
    corpus.write_text("\n".join(map(json.dumps, DOCUMENTS)))
    build_index(corpus, "tiny", parts=("bm25",), root=folder)
    (folder / "topics.tsv").write_text("q1\twhat are bananas?\nq2\twhat does a mill do?\n")
    (folder / "answers.jsonl").write_text("\n".join(map(answer_line, ("q1", "q2"))))
    return folder


def arena_of(shelf: Path, text: str) -> Path:
    file = shelf / "arena.toml"
    file.write_text(text)
    return file


def last(contender: Contender, question: str, qid: str | None = None) -> Result:
    *_, result = contender.stream(question, qid)
    assert isinstance(result, Result)
    return result


LOCAL = """
[topics]
set = "topics.tsv"

[systems.plain]
index = "./tiny"
model = "{model}"
rerank = false

[systems.again]
index = "./tiny"
model = "{model}"
rerank = false
k1 = 2.0

[systems.joint]
index = "./tiny"
model = "{model}"
mode = "joint"

[systems.theirs]
answers = "answers.jsonl"
topics = "set"
index = "./tiny"
"""


@pytest.fixture
def roster(shelf: Path, saved: Path) -> Iterator[Roster]:
    """Three pipelines over one index and one model, and a file."""
    said: list[str] = []
    opened = open_roster(arena_of(shelf, LOCAL.format(model=saved)), said.append)
    assert said == ["opening index ./tiny", f"loading model {saved}"]
    yield opened
    opened.close()


def test_pipelines_share_what_is_equal(roster: Roster) -> None:
    plain, again, joint = (roster.contenders[name] for name in ("plain", "again", "joint"))
    assert isinstance(plain, PipelineContender)
    assert isinstance(again, PipelineContender)
    assert isinstance(joint, PipelineContender)
    assert plain.pipeline.generator is again.pipeline.generator is joint.pipeline.generator
    assert isinstance(plain.pipeline.reranker, KeepOrder)
    assert isinstance(joint.pipeline.reranker, AttentionReranker)
    assert isinstance(plain.pipeline.generator, QuoteGenerator)


LATE = """
[systems.one]
index = "./tiny"
model = "{model}"
profile = "late.json"
rerank = true
generator = "quote"

[systems.other]
index = "./tiny"
model = "{folder}/./{name}"
profile = "./late.json"
mode = "late"
first_stage = 3.0
k1 = 2.0
top_k = 1
generator = "local"
max_tokens = 1

[systems.third]
index = "./tiny"
model = "{model}"
profile = "other.json"
"""


def reader_of(contender: Contender) -> tuple[LateAttentionReranker, Batcher]:
    assert isinstance(contender, PipelineContender)
    assert isinstance(contender.pipeline.reranker, LateAttentionReranker)
    return contender.pipeline.reranker, contender.pipeline.reranker.batcher


def test_rerankers_that_read_alike_read_once(shelf: Path, saved: Path) -> None:
    model = load_model(str(saved))
    write_profile(profile_of(model, together=0.5), shelf / "late.json")
    write_profile(profile_of(model, together=0.25), shelf / "other.json")
    said: list[str] = []
    text = LATE.format(model=saved, folder=saved.parent, name=saved.name)
    with closing(open_roster(arena_of(shelf, text), said.append)) as roster:
        assert said == ["opening index ./tiny", f"loading model {saved}"]
        (one, batches), (other, theirs), (third, apart) = map(reader_of, roster.contenders.values())
        assert one.reader is other.reader is not third.reader
        assert batches is theirs is not apart
        # What is each system's own.
        assert (one.first_stage, other.first_stage) == (None, 3.0)
        assert (one.joint is not None, other.joint) == (True, None)
        components = [system.components["reranker"] for system in roster.systems]
        digest = one.reader.profile.digest
        assert components[:2] == [f"late+joint {digest}", f"late {digest} first_stage=3"]
        question = "what are bananas rich in?"
        read = []
        for name in ("one", "other", "third"):
            last(roster.find(name), question)
            read.append([chosen.reader.stats()["memory"].writes for chosen in (one, third)])
        # The other system found what the first had read; the third has a memory of its own.
        assert read == [[1, 0], [1, 0], [1, 1]]
        assert (batches.stats().batches, apart.stats().batches) == (2, 1)
    with pytest.raises(CancelledError):
        other.batcher.read(question, ["text"])


def test_joint_readers_of_other_heads_are_others(saved: Path) -> None:
    model = load_model(str(saved))
    profiles = [replace(profile_of(model), joint=(JointHead(0, head),)) for head in (0, 0, 1)]
    with closing(Rerankers()) as rerankers:
        made = [rerankers.make(model, PipelineSettings(mode="joint", profile=one)) for one in profiles]
        one, same, other = (its.reader for its in made if isinstance(its, AttentionReranker))
    assert one is same is not other


PROMPTS = (
    """
[systems.usual]
index = "./tiny"
model = "{model}"
rerank = false
generator = "local"
max_tokens = 1

[systems.brief]
index = "./tiny"
model = "{model}"
rerank = false
generator = "local"
max_tokens = 1
prompt = """
    '"""'
    """
Answer in one word,
and cite.
"""
    '"""'
)


def test_systems_may_differ_in_what_the_model_is_told(shelf: Path, saved: Path) -> None:
    with closing(open_roster(arena_of(shelf, PROMPTS.format(model=saved)))) as roster:
        usual, brief = roster.contenders.values()
        assert isinstance(usual, PipelineContender)
        assert isinstance(brief, PipelineContender)
        assert isinstance(usual.pipeline.generator, LocalGenerator)
        assert isinstance(brief.pipeline.generator, LocalGenerator)
        assert usual.pipeline.generator.options.prompt == ""
        assert brief.pipeline.generator.options.prompt == "Answer in one word,\nand cite."
        theirs = usual.system.components.items() ^ brief.system.components.items()
        assert set(theirs) == {("prompt", "none of its own"), ("prompt", "Answer in one word, and cite.")}


def test_what_is_lent_is_used_and_left_open(roster: Roster, shelf: Path, saved: Path) -> None:
    said: list[str] = []
    model = load_model(str(saved))
    with open_index(shelf / "tiny") as index:
        lent = Lent((index,), (model,))
        with closing(open_roster(shelf / "arena.toml", said.append, lent=lent)) as opened:
            plain = opened.contenders["plain"]
            assert isinstance(plain, PipelineContender)
            assert isinstance(plain.pipeline.generator, QuoteGenerator)
            assert plain.pipeline.generator.model is model
            assert opened.systems == roster.systems
        assert said == []
        assert index.search(["bananas"], 1)[0][0].docid == "d1"


def test_what_is_lent_and_called_otherwise_is_not_used(shelf: Path, saved: Path) -> None:
    said: list[str] = []
    (shelf / "alias").symlink_to(shelf / "tiny")
    text = LOCAL.format(model=saved)
    with open_index(shelf / "alias") as index:
        open_roster(arena_of(shelf, text), said.append, lent=Lent((index,))).close()
    assert said == ["opening index ./tiny", f"loading model {saved}"]


def test_systems_that_differ_in_one_thing_differ_in_one_component(roster: Roster) -> None:
    plain, again, joint, _ = (system.components for system in roster.systems)
    assert {name for name in plain if plain[name] != again[name]} == {"first_stage"}
    assert {name for name in plain if plain[name] != joint[name]} == {"reranker"}
    assert (plain["reranker"], joint["reranker"], plain["generator"]) == ("none", "joint", "quote")
    assert (plain["first_stage"], again["first_stage"]) == ("bm25 k1=0.9 b=0.4", "bm25 k1=2 b=0.4")
    assert len({system.digest for system in roster.systems}) == 4


def test_a_pipeline_answers(roster: Roster) -> None:
    events = list(roster.find("plain").stream("what is rich in potassium?"))
    assert [type(event) for event in events[:2]] == [Retrieved, Reranked]
    result = events[-1]
    assert isinstance(result, Result)
    output = output_of(roster.find("plain").system, result)
    assert (output.system, output.hits[0].docid) == ("plain", "d1")
    assert output.digest == roster.systems[0].digest
    with pytest.raises(BadQuery):
        list(roster.find("joint").stream(" "))


def test_a_file_answers_its_topics_only(roster: Roster) -> None:
    theirs = roster.find("theirs")
    result = last(theirs, "what are bananas?", "q1")
    assert [sentence.text for sentence in result.answer.sentences] == ["The answer to q1."]
    assert result.hits[0].passage.text == "Bananas are rich in potassium."
    for qid in (None, "q9"):
        with pytest.raises(NotFound, match="has no answer to topic"):
            last(theirs, "what are bananas?", qid)
    assert [one.system.name for one in roster.meeting()] == ["plain", "again", "joint"]
    assert [one.system.name for one in roster.meeting("set")] == ["plain", "again", "joint", "theirs"]
    assert roster.topic("set", "q2").text == "what does a mill do?"
    with pytest.raises(NotFound, match="no topic 'q9'"):
        roster.topic("set", "q9")
    with pytest.raises(NotFound, match="no system 'x'; there are plain, again"):
        roster.find("x")


def test_a_changed_file_is_another_configuration(shelf: Path) -> None:
    text = """
    topics = {set = "topics.tsv"}
    systems.one = {answers = "answers.jsonl", topics = "set"}
    systems.two = {answers = "other.jsonl", topics = "set"}
    """
    digests = []
    for cited in ("d1", "unknown"):
        (shelf / "other.jsonl").write_text("\n".join(answer_line(q, "other", cited) for q in ("q1", "q2")))
        with closing(open_roster(arena_of(shelf, text))) as roster:
            digests.append([system.digest for system in roster.systems])
            assert last(roster.find("two"), "?", "q1").hits[0].passage.text == ""
    assert digests[0][0] == digests[1][0]
    assert digests[0][1] != digests[1][1]


TWO = "[systems.a]\nurl = 'http://h'\n[systems.b]\nurl = 'http://i'\n"


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("[systems", BadSetting, "is not TOML"),
        ("", BadSetting, r"0 system\(s\); an arena needs two"),
        ("[system.a]\n", BadSetting, "no key 'system'; did you mean systems"),
        ("other = 1", BadSetting, "no key 'other'; there are topics, systems, masked_names"),
        ("systems = 3", BadSetting, r"\[systems\], not 3"),
        ("systems.a = 3", BadSetting, r"\[systems.a\] is a table of its own, not 3"),
        ("[systems.a]\nindx = 'x'", BadSetting, r"\[systems.a\]: there is no key 'indx'; did you mean index"),
        ("[systems.a]\nurl = 'http://h'\nmodel = 'm'", BadSetting, "no key 'model'"),
        ("[systems.a]\nmode = 'never'", BadSetting, "mode = 'never'"),
        ("[systems.a]\ntop_k = '5'", BadSetting, "top_k = '5'"),
        ("[systems.a]\ntop_k = 0", BadSetting, "top_k = 0"),
        ("[systems.a]\nurl = 'host'", BadSetting, "is no address such as"),
        ("[systems.a]\nurl = 'http://u:p@host'", BadSetting, "is no address such as"),
        ("[systems.a]\nanswers = 'x'", BadSetting, "topics"),
        ("[systems.a]\nanswers = 'x'\ntopics = 't'", BadSetting, "no topic set 't' under"),
        ("[systems.' ']\nurl = 'http://h'", BadSetting, "1 to 80 characters"),
        ("[topics]\nset = 3", BadSetting, "a topic file's path, not 3"),
        ("[topics]\nset = 'no.tsv'\n" + TWO, NotFound, "no.tsv"),
        ("[topics]\nset = 'arena.toml'\n" + TWO, BadFormat, "line 1"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, text: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        read_configuration(arena_of(tmp_path, text))


def test_a_missing_configuration_key_or_answer_is_named(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="cannot be read"):
        read_configuration(shelf / "none.toml")
    monkeypatch.setenv("EMPTY_KEY", " ")
    with pytest.raises(BadSetting, match="EMPTY_KEY, which holds none"):
        open_roster(arena_of(shelf, TWO + "key_variable = 'EMPTY_KEY'"))
    part = (
        "topics = {set = 'topics.tsv'}\nsystems.a = {answers = 'part.jsonl', topics = 'set'}\nsystems.b = {}"
    )
    for lines, says in ((["q1"], "'q2' for one"), (["q1", "q2", "q1"], "answered twice")):
        (shelf / "part.jsonl").write_text("\n".join(map(answer_line, lines)))
        with pytest.raises(BadFormat, match=says):
            open_roster(arena_of(shelf, part))
