"""What results depend on: every setting is classed, and each that counts changes an identity."""

import shutil
from pathlib import Path

import pytest

from indexes import Index, open_index
from service.clients.known import BELIEVED_SECONDS, Known
from service.identity import INDIFFERENT, NAMING, SHAPING, identity_of
from service.library import Library
from service.settings import STAGES, Settings
from tests.service.fakes import a_pipeline
from tests.service.running import client_of


def test_every_setting_is_classed_once() -> None:
    # A new setting goes into `SHAPING` if it changes what a stage says of the same request.
    classed = [*NAMING, *INDIFFERENT, *(name for names in SHAPING.values() for name in names)]
    assert len(classed) == len(set(classed))
    assert set(classed) == set(Settings.model_fields)
    assert set(SHAPING) == set(STAGES)


OTHERS = {
    "method": "bm25",
    "k1": 1.2,
    "b": 0.7,
    "rerank": False,
    "mode": "joint",
    "first_stage": 0.5,
    "int8": True,
    "rerank_tokens": 9,
    "generator": "quote",
    "openai_base_url": "http://other.test/v1",
    "openai_model": "other",
    "policy": "streaming",
    "sparsity": 0.1,
    "passages": 2,
    "passage_tokens": 9,
    "max_tokens": 9,
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_setting_that_counts_changes_the_identity_of_its_stage_alone(stage: str) -> None:
    assert set(OTHERS) == {name for names in SHAPING.values() for name in names}
    plain = identity_of(stage, Settings(), ["opened"])
    assert plain == identity_of(stage, Settings(max_hits=3, threads=2), ["opened"])
    assert plain != identity_of(stage, Settings(), ["another"])
    for name, value in OTHERS.items():
        other = identity_of(stage, Settings.model_validate({name: value}), ["opened"])
        assert (other != plain) == (name in SHAPING[stage]), name


def test_an_indexs_identity_is_of_what_was_built(small_index: Index, tmp_path: Path) -> None:
    settings = Settings()
    shutil.copytree(small_index.folder, tmp_path / "copy")
    shutil.copytree(small_index.folder / "bm25", tmp_path / "bare" / "small")
    shutil.copytree(small_index.folder / "bm25", tmp_path / "changed" / "small")
    (segments,) = (tmp_path / "changed").rglob("segments_*")
    segments_of = segments.read_bytes()
    with open_index(str(tmp_path / "copy")) as copy, open_index(str(tmp_path / "bare" / "small")) as bare:
        library = Library({"one": small_index, "copy": copy, "bare": bare}, settings)
        assert library.identity("one") == library.identity("copy"), "wherever it lies"
        assert library.identity("bare") != library.identity("one")
        before = Library({"small": bare}, settings).identity("small")
        (inside,) = (tmp_path / "bare").rglob("segments_*")
        inside.write_bytes(segments_of[:-1] + b"x")
        assert Library({"small": bare}, settings).identity("small") != before, (
            "built anew, as large as before"
        )


@pytest.mark.anyio
async def test_a_process_says_what_it_works_with() -> None:
    async with client_of(a_pipeline()) as client:
        assert (await client.get("/v1/identity")).json() == {"identities": {}}, "fakes say nothing"


def test_replicas_must_agree_and_speak_up() -> None:
    now = 100.0
    known = Known(["a", "b"], lambda: now)
    known.tell("a", "1")
    assert known.agreed() is None, "one has not been heard of"
    known.tell("b", "2")
    assert known.agreed() is None, "they differ"
    known.tell("b", "1")
    assert known.agreed() == "1"
    known.tell("b", "")
    assert known.agreed() is None, "one has none to say"
    known.gone("b")
    assert known.agreed() == "1", "it is gone"
    now += BELIEVED_SECONDS + 1
    assert known.agreed() is None, "too long ago"
