"""From settings to the parts of a pipeline."""

from pathlib import Path

import pytest

from indexes import IndexNotFound
from ragnarok import assemble
from ragnarok.assemble import PipelineSettings, build_generator, build_pipeline, build_reranker
from ragnarok.generators import LocalGenerator, LocalOptions, QuoteGenerator
from ragnarok.rerankers import AttentionReranker, KeepOrder
from rerank.errors import BadHeads
from rerank.icr import IcrOptions
from rerank.model import Model


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


def test_rerankers(small: Model) -> None:
    assert isinstance(build_reranker(small, PipelineSettings(rerank=False)), KeepOrder)
    icr = IcrOptions(heads=((1, 2),))
    made = build_reranker(small, PipelineSettings(icr=icr, first_stage=0.5))
    assert isinstance(made, AttentionReranker)
    assert (made.reader.options, made.first_stage) == (icr, 0.5)
    with pytest.raises(BadHeads, match="has no head 9-0"):
        build_reranker(small, PipelineSettings(icr=IcrOptions(heads=((9, 0),))))


def test_a_missing_index_is_found_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAGNAROK_HOME", str(tmp_path))
    stages: list[str] = []
    with pytest.raises(IndexNotFound, match="'nothing'"):
        build_pipeline(PipelineSettings(index="nothing", model="nothing"), stages.append)
    assert stages == ["opening index nothing"]
