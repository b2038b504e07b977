"""What the environment may say."""

import pytest

from ragnarok.assemble import PipelineSettings
from ragnarok.errors import BadSetting
from rerank.profile import PROFILES, read_profile
from service.settings import Settings, load_settings, variable


def test_what_is_not_said_is_the_pipelines_own_default() -> None:
    assert Settings().for_pipeline() == PipelineSettings()


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_every_setting_reaches_what_it_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "index": "wiki",
        "method": "hybrid",
        "model": "other",
        "rerank": "false",
        "mode": "joint",
        "profile": str(next(PROFILES.glob("*.json"))),
        "first_stage": "0.5",
        "depth": "7",
        "max_depth": "9",
        "rerank_tokens": "11",
        "k1": "1.2",
        "b": "0.75",
        "passages": "3",
        "passage_tokens": "99",
        "max_tokens": "64",
        "max_body_bytes": "1000",
        "max_waiting": "0",
    }
    assert set(said) == set(Settings.model_fields)
    for name, value in said.items():
        monkeypatch.setenv(variable(name), value)
    settings = load_settings()
    pipeline = settings.for_pipeline()
    assert (settings.max_depth, settings.max_body_bytes, settings.max_waiting) == (9, 1000, 0)
    assert (pipeline.index, pipeline.method, pipeline.model, pipeline.rerank) == (
        "wiki",
        "hybrid",
        "other",
        False,
    )
    assert (pipeline.first_stage, pipeline.depth, pipeline.k1, pipeline.b) == (0.5, 7, 1.2, 0.75)
    assert pipeline.icr.passage_tokens == 11
    assert (pipeline.mode, pipeline.profile) == ("joint", read_profile(said["profile"]))
    assert (pipeline.generate.passages, pipeline.generate.passage_tokens) == (3, 99)
    assert pipeline.generate.max_tokens == 64


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RAGNAROK_DEPTH", "0", "RAGNAROK_DEPTH='0': Input should be greater than or equal to 1"),
        ("RAGNAROK_DEPTH", "many", "RAGNAROK_DEPTH='many'.*valid integer"),
        ("RAGNAROK_DEPTH", "101", "RAGNAROK_DEPTH=101 is over RAGNAROK_MAX_DEPTH=100"),
        ("RAGNAROK_METHOD", "bm52", "RAGNAROK_METHOD='bm52'.*'bm25', 'dense' or 'hybrid'"),
        ("RAGNAROK_RERANK", "perhaps", "RAGNAROK_RERANK='perhaps'"),
        ("RAGNAROK_B", "2", "RAGNAROK_B='2'.*less than or equal to 1"),
        ("RAGNAROK_MAX_TOKNES", "64", "RAGNAROK_MAX_TOKNES is no setting; did you mean RAGNAROK_MAX_TOKENS?"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSetting, match=said):
        load_settings()


def test_variables_of_other_rooms_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGNAROK_HOME", "/somewhere")
    monkeypatch.setenv("RAGNAROK_JAVA_HEAP", "1g")
    assert load_settings() == Settings()
