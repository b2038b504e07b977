"""Names in answers: which are hidden, and what is left as it is."""

from pathlib import Path

import pytest

from ragnarok.arena.configuration import read_configuration
from ragnarok.arena.masking import HIDDEN, Mask
from ragnarok.errors import BadSetting
from tests.ragnarok.arena.battles import a_battle


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
openai_base_url = "http://localhost"
openai_model = "writer-large"
[systems.three]
url = "http://far"
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


@pytest.mark.parametrize("value", ["'Qwen'", "3", "[3]", "['']", "['a', ' ']"])
def test_masked_names_are_a_list_of_names(tmp_path: Path, value: str) -> None:
    file = tmp_path / "arena.toml"
    file.write_text(f"masked_names = {value}\n[systems.a]\n[systems.b]\n")
    with pytest.raises(BadSetting, match="masked_names is a list of names such as"):
        read_configuration(file)
