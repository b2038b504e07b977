"""Names in answers: which are hidden, and what is left as it is."""

from contextlib import closing
from pathlib import Path

import pytest

from ragnarok.arena.configuration import read_configuration
from ragnarok.arena.masking import HIDDEN, Mask
from ragnarok.arena.signs import address_signs
from ragnarok.arena.systems import open_roster
from ragnarok.errors import BadSetting
from tests.ragnarok.arena.battles import a_battle
from tests.ragnarok.arena.test_systems import answer_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("I am Qwen3.", f"I am {HIDDEN}."),
        ("QWEN3, qwen3 and qwen3's maker", f"{HIDDEN}, {HIDDEN} and {HIDDEN}'s maker"),
        ("(qwen3-8b)", f"({HIDDEN})"),
        ("qwen3\n8b, as\tsmall lab says", f"{HIDDEN}, as\t{HIDDEN} says"),
        ("qwen3x, myqwen3 and _qwen3 are none", "qwen3x, myqwen3 and _qwen3 are none"),
        ("qwen3+ and a.b and axb", f"{HIDDEN}+ and {HIDDEN} and axb"),
        ("ÉCOLE, <b>qwen3</b>", f"{HIDDEN}, <b>{HIDDEN}</b>"),
    ],
)
def test_exact_names_are_hidden_as_whole_words(text: str, shown: str) -> None:
    mask = Mask(["qwen3", "qwen3-8b", "qwen3 8b", "Small  Lab", "a.b", "école", "", " "])
    assert mask.text(text) == shown


def test_a_mask_without_names_hides_nothing() -> None:
    assert Mask().text("Anything, even nothing: ''.") == "Anything, even nothing: ''."
    assert Mask([""]).text("") == ""


SIGNS = ("local", "openai", "gateway", "far.example", "far.example:9000", "gateway:8000", "10.0.0.7")
RUNS = ("icr-run3", "test", "late-night", "first", "2024", "b12")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        # What nobody writes by chance counts everywhere, but never within another token.
        ("Run icr-run3 (ICR-RUN3).", f"Run {HIDDEN} ({HIDDEN})."),
        ("icr-run34, icr-run3-b, my-icr-run3 and icr-run3.x", None),
        ("See http://far.example/v1 or FAR.example.", f"See http://{HIDDEN}/v1 or {HIDDEN}."),
        ("far.example:9000, far.example:90", f"{HIDDEN}, {HIDDEN}:90"),
        ("not.far.example, far.example.org and far.examples", None),
        ("At 10.0.0.7, not 10.0.0.70 or 110.0.0.7", f"At {HIDDEN}, not 10.0.0.70 or 110.0.0.7"),
        ("http://gateway/v1, gateway:8000", f"http://{HIDDEN}/v1, {HIDDEN}"),
        # An ordinary word counts where the text says what it is.
        ("generator: local", f"generator: {HIDDEN}"),
        ('{"generator": "openai", "run_id": "test"}', f'{{"generator": "{HIDDEN}", "run_id": "{HIDDEN}"}}'),
        (
            "generator=local; run tag is first; run id b12",
            f"generator={HIDDEN}; run tag is {HIDDEN}; run id {HIDDEN}",
        ),
        ("I am an OpenAI model.", f"I am an {HIDDEN} model."),
        ("I'm a large language model trained by OpenAI.", f"I'm a large language model trained by {HIDDEN}."),
        (
            "I am the late-night run, and I was made by openai!",
            f"I am the {HIDDEN} run, and I was made by {HIDDEN}!",
        ),
        ("My name is Test", f"My name is {HIDDEN}"),
        # And nowhere else.
        ("The local council runs a test of the first gateway.", None),
        ("OpenAI was founded in 2015; in 2024 it was first.", None),
        ("Vitamin B12 is tested late-night. A local generator is loud.", None),
        ("I am local to the area and was first told by local people; a test run ran.", None),
        ("https://localhost and https://gateway.org, //gateway-two", None),
        ("generators: localised; run id tests", None),
    ],
)
def test_signs_are_hidden_where_they_tell_of_a_system(text: str, shown: str | None) -> None:
    assert Mask(signs=(*SIGNS, *RUNS, "", " ")).text(text) == (text if shown is None else shown)


def test_a_name_in_what_tells_a_sign_is_hidden_too_and_what_overlaps_once() -> None:
    mask = Mask(["Qwen3", "far", "hidden"], ["openai", "far.example", "far.example:9000"])
    assert mask.text("I am a Qwen3 model made by OpenAI.") == f"I am a {HIDDEN} model made by {HIDDEN}."
    assert mask.text("far, far.example:9000") == f"{HIDDEN}, {HIDDEN}"


@pytest.mark.parametrize(
    ("url", "signs"),
    [
        ("http://Far.example:9000/v1", ("far.example", "far.example:9000")),
        ("https://far.example", ("far.example",)),
        ("http://user:secret@gateway:80", ("gateway", "gateway:80")),
        ("http://localhost:8000", ("localhost:8000",)),
        ("http://127.0.0.2:8000", ("127.0.0.2:8000",)),
        ("http://[2001:db8::7]:8000", ("2001:db8::7", "[2001:db8::7]:8000")),
        ("http://[::1]", ()),
        ("http://far:port", ()),
        ("", ()),
    ],
)
def test_the_signs_of_an_address(url: str, signs: tuple[str, ...]) -> None:
    assert address_signs(url) == signs


def test_of_a_battle_the_answers_are_masked_and_nothing_else() -> None:
    battle = a_battle()
    masked = Mask(["word", "bananas", "bm25"]).battle(battle)
    assert battle.a.answer.text.startswith("word word")
    assert masked.a.answer.text == f"{HIDDEN} " * 3
    assert masked.b.answer.text == f"{HIDDEN} " * 5
    assert (masked.a.hits, masked.a.system, masked.question) == (battle.a.hits, "bm25", battle.question)
    assert masked.a.answer.sentences[0].citations == battle.a.answer.sentences[0].citations


CONFIGURATION = """
masked_names = ["Qwen", "Some Lab"]
[systems.one]
model = "/models/Qwen3-8B.gguf"
profile = "profiles/tuned.json"
[systems.two]
model = "lab/model-2.5"
generator = "openai"
openai_base_url = "http://models.example/v1"
openai_model = "writer-large"
[systems.three]
url = "http://far:8000"
"""


def test_the_names_of_models_and_profiles_are_among_those_that_are_masked(tmp_path: Path) -> None:
    file = tmp_path / "arena.toml"
    file.write_text(CONFIGURATION)
    assert read_configuration(file).masked == (
        "Qwen",
        "Some Lab",
        "/models/Qwen3-8B.gguf",
        "Qwen3-8B.gguf",
        "Qwen3-8B",
        "profiles/tuned.json",
        "tuned.json",
        "tuned",
        "lab/model-2.5",
        "model-2.5",
        "writer-large",
    )


def test_the_kinds_and_hosts_of_systems_are_their_signs(tmp_path: Path) -> None:
    file = tmp_path / "arena.toml"
    file.write_text(CONFIGURATION)
    signs = ("local", "quote", "models.example", "openai", "far", "far:8000")
    assert read_configuration(file).signs == signs


def test_the_runs_of_answer_files_are_hidden(tmp_path: Path) -> None:
    (tmp_path / "topics.tsv").write_text("q1\twhat?\nq2\twhy?\n")
    for name in ("one", "two"):
        lines = [answer_line("q1", run=f"lab-{name}7"), answer_line("q2", run=f"{name}-more_{name}")]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    file = tmp_path / "arena.toml"
    file.write_text(
        'topics = {set = "topics.tsv"}\n'
        'systems.a = {answers = "one.jsonl", topics = "set"}\n'
        'systems.b = {answers = "two.jsonl", topics = "set"}\n'
        'systems.c = {url = "http://far.example"}\n'
    )
    with closing(open_roster(file)) as roster:
        told = "lab-one7, one-more_one, lab-two7, two-more_two at far.example, lab-one8"
        assert roster.mask.text(told) == f"{HIDDEN}, {HIDDEN}, {HIDDEN}, {HIDDEN} at {HIDDEN}, lab-one8"


@pytest.mark.parametrize("value", ["'Qwen'", "3", "[3]", "['']", "['a', ' ']"])
def test_masked_names_are_a_list_of_names(tmp_path: Path, value: str) -> None:
    file = tmp_path / "arena.toml"
    file.write_text(f"masked_names = {value}\n[systems.a]\n[systems.b]\n")
    with pytest.raises(BadSetting, match="masked_names is a list of names such as"):
        read_configuration(file)
