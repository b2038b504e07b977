"""From settings to the parts of a pipeline."""

from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path

import pytest

from indexes import Index, IndexNotFound, build_index
from ragnarok import assemble
from ragnarok.assemble import (
    PipelineSettings,
    build_generator,
    build_pipeline,
    build_reranker,
    joint_options,
)
from ragnarok.documents import StoreOptions
from ragnarok.errors import BadSetting
from ragnarok.generators import (
    LocalGenerator,
    LocalOptions,
    OpenAIGenerator,
    OpenAIOptions,
    QuoteGenerator,
)
from ragnarok.pipeline import close_parts
from ragnarok.rerankers import AttentionReranker, KeepOrder, LateAttentionReranker
from ragnarok.types import Hit, Passage
from rerank.errors import BadHeads, BadProfile, StoreUnusable
from rerank.icr import IcrOptions, InContextReranker
from rerank.late.reranker import LateOptions
from rerank.model import Model
from rerank.profile import JointHead
from rerank.read import ReadOptions, ReadReranker
from rerank.store.disk import MIN_BYTES, DiskTier
from tests.rerank.test_late import profile_of


def test_small_models_quote_and_large_ones_write(small: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(build_generator(small, PipelineSettings()), QuoteGenerator)
    monkeypatch.setattr(assemble, "WRITES_FROM", small.parameters)
    assert isinstance(build_generator(small, PipelineSettings()), LocalGenerator)
    assert isinstance(build_generator(small, PipelineSettings(generator="quote")), QuoteGenerator)


def test_a_named_generator_is_taken_with_its_options(small: Model) -> None:
    options = LocalOptions(max_tokens=3)
    made = build_generator(small, PipelineSettings(generator="local", generate=options))
    assert isinstance(made, LocalGenerator)
    assert made.options is options


def test_a_prompt_is_refused_where_nothing_is_written(small: Model) -> None:
    told = LocalOptions(prompt="Answer in one word.")
    with pytest.raises(BadSetting, match="the prompt is for a model that writes"):
        build_generator(small, PipelineSettings(generate=told))
    endpoint = OpenAIOptions("http://localhost:1/v1", "m")
    made = build_generator(small, PipelineSettings(generator="openai", openai=endpoint, generate=told))
    assert isinstance(made, OpenAIGenerator)
    assert made.options.prompt == told.prompt
    close_parts(made)


def test_rerankers(small: Model) -> None:
    assert isinstance(build_reranker(small, PipelineSettings(rerank=False)), KeepOrder)
    icr = IcrOptions(heads=((1, 2),))
    made = build_reranker(small, PipelineSettings(icr=icr, first_stage=0.5))
    assert isinstance(made, AttentionReranker)
    assert isinstance(made.reader, InContextReranker)
    assert (made.reader.options, made.first_stage) == (icr, 0.5)
    made = build_reranker(small, PipelineSettings(mode="read", read=ReadOptions(memory=1 << 22)))
    assert isinstance(made, AttentionReranker)
    assert isinstance(made.reader, ReadReranker)
    assert made.first_stage == 1.0
    hits = [Hit(str(n), 1.0 / n, n, Passage(str(n), text="the question " * n)) for n in range(1, 4)]
    assert {hit.docid for hit in made.rerank("the question", hits)} == {"1", "2", "3"}
    with pytest.raises(BadHeads, match="has no head 9-0"):
        build_reranker(small, PipelineSettings(icr=IcrOptions(heads=((9, 0),))))


def test_joint_mode_counts_a_named_profiles_heads(small: Model) -> None:
    profile = replace(profile_of(small), joint=(JointHead(0, 1, 0.5), JointHead(1, 2)))
    counted = IcrOptions(passage_tokens=90, heads=((0, 1), (1, 2)), head_weights=(0.5, 1.0))
    settings = PipelineSettings(mode="joint", profile=profile, icr=IcrOptions(passage_tokens=90))
    assert joint_options(small, settings) == counted
    made = build_reranker(small, settings)
    assert isinstance(made, AttentionReranker)
    assert isinstance(made.reader, InContextReranker)
    assert made.reader.options == counted
    # A profile of nothing else suits joint mode.
    alone = replace(settings, mode=None, profile=replace(profile, signals=(), prompt=""))
    assert isinstance(build_reranker(small, alone), AttentionReranker)
    # Heads that are named count alone; without joint heads, all do.
    named = IcrOptions(heads=((1, 0),))
    assert joint_options(small, replace(settings, icr=named)) == named
    assert joint_options(small, replace(settings, profile=profile_of(small))) == settings.icr
    other = replace(profile, model=replace(profile.model, vocabulary=7))
    with pytest.raises(BadProfile, match="vocabulary is 7"):
        build_reranker(small, replace(settings, profile=other))


def test_a_missing_index_is_found_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGNAROK_HOME", str(tmp_path))
    stages: list[str] = []
    with pytest.raises(IndexNotFound, match="'nothing'"):
        build_pipeline(PipelineSettings(index="nothing", model="nothing"), stages.append)
    assert stages == ["opening index nothing"]


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """What was closed of stores and indexes, in order."""
    seen: list[type] = []
    for kind in (DiskTier, Index):

        def close(part: DiskTier | Index, real: object = kind.close, name: type = kind) -> None:
            assert callable(real)
            seen.append(name)
            real(part)

        monkeypatch.setattr(kind, "close", close)
    return seen


def late_settings(
    small: Model, folder: Path, *, memory: int = 1 << 22, int8: bool = False
) -> PipelineSettings:
    return PipelineSettings(
        profile=profile_of(small),
        late=LateOptions(memory=memory, int8=int8),
        store=StoreOptions(folder / "states", MIN_BYTES),
        generator="quote",
    )


def late_of(small: Model, settings: PipelineSettings) -> LateAttentionReranker:
    made = build_reranker(small, settings)
    assert isinstance(made, LateAttentionReranker)
    return made


def test_a_late_reranker_has_the_store_that_is_named(
    small: Model, tmp_path: Path, closed: list[type]
) -> None:
    for kept in (0, 2):
        made = late_of(small, late_settings(small, tmp_path))
        assert made.batcher.read("x", ["one text", "another"]).kept == kept
        close_parts(made)
        with pytest.raises(CancelledError):
            made.batcher.read("x", ["one text"])
    assert closed == [DiskTier, DiskTier]
    # Keys in one byte a number are others.
    made = late_of(small, late_settings(small, tmp_path, int8=True))
    assert made.batcher.read("x", ["one text"]).kept == 0
    close_parts(made)


def test_an_open_store_is_taken_as_it_is(small: Model, tmp_path: Path, closed: list[type]) -> None:
    store = DiskTier(tmp_path / "own", MIN_BYTES)
    settings = late_settings(small, tmp_path)
    made = late_of(small, replace(settings, late=replace(settings.late, store=store)))
    assert made.reader.options.store is store
    assert not (tmp_path / "states").exists()
    close_parts(made)
    assert closed == [DiskTier]


@pytest.mark.parametrize("rerank", [True, False])
def test_a_store_that_would_not_be_used_is_refused(small: Model, tmp_path: Path, rerank: bool) -> None:
    settings = replace(late_settings(small, tmp_path), mode="joint" if rerank else None, rerank=rerank)
    with pytest.raises(BadSetting, match="this is not late mode"):
        build_reranker(small, settings)


def test_what_fails_leaves_no_store_open(small: Model, tmp_path: Path, closed: list[type]) -> None:
    with pytest.raises(StoreUnusable, match="bytes of memory"):
        build_reranker(small, late_settings(small, tmp_path, memory=8))
    assert closed == [DiskTier]


def test_a_pipeline_closes_what_it_opened(
    small: Model, saved: Path, tmp_path: Path, closed: list[type], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGNAROK_HOME", str(tmp_path))
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "The tower is in Paris, by the river."}\n')
    build_index(tmp_path / "corpus.jsonl", "demo", parts=["bm25"]).close()
    closed.clear()
    settings = replace(late_settings(small, tmp_path), model=str(saved))
    with build_pipeline(settings) as pipeline:
        assert pipeline.ask("where is the tower?").hits
        assert closed == []
    assert closed == [DiskTier, Index]
    closed.clear()
    with pytest.raises(BadProfile, match="has no gates"):
        build_pipeline(replace(settings, generator="local", policy="duo"))
    assert closed == [DiskTier, Index]
