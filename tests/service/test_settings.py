"""What the environment may say."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from ragnarok.assemble import PipelineSettings
from ragnarok.documents import StoreOptions
from ragnarok.errors import BadSetting
from ragnarok.generators import OpenAIOptions
from rerank.late.reranker import LateOptions
from rerank.profile import PROFILES, read_profile
from service.settings import Settings, load_settings, variable


def test_what_is_not_said_is_the_pipelines_own_default() -> None:
    assert Settings().for_pipeline() == PipelineSettings()


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_every_setting_reaches_what_it_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "serve": "all",
        "retrieval_url": "http://one:1, http://two:2/",
        "rerank_url": "https://host",
        "generation_url": "http://host:8000",
        "upstream_key": "b-secret",
        "connect_seconds": "1.5",
        "read_seconds": "30",
        "index": "wiki",
        "indexes": "wiki,/data/news",
        "max_hits": "500",
        "max_queries": "50",
        "max_documents": "100",
        "max_documents_bytes": "5000",
        "model_aliases": "rerank-v3.5, jina-reranker",
        "method": "hybrid",
        "model": "other",
        "rerank": "false",
        "mode": "joint",
        "profile": str(next(PROFILES.glob("*.json"))),
        "first_stage": "0.5",
        "store": "/states",
        "store_bytes": "123",
        "store_redis": "redis://:secret@host/0",
        "int8": "true",
        "memory_bytes": "456",
        "host_memory_bytes": "789",
        "generator": "local",
        "openai_base_url": "http://host/v1",
        "openai_api_key": "a-secret",
        "openai_model": "there",
        "openai_timeout": "12.5",
        "policy": "duo",
        "sparsity": "0.25",
        "threads": "4",
        "depth": "7",
        "max_depth": "9",
        "rerank_tokens": "11",
        "k1": "1.2",
        "b": "0.75",
        "passages": "3",
        "passage_tokens": "99",
        "max_tokens": "64",
        "redis_url": "redis://:secret@cache:6379/1",
        "cache_seconds": "60",
        "api_keys": "keys.txt",
        "log_format": "json",
        "max_body_bytes": "1000",
        "max_waiting": "0",
    }
    assert set(said) == set(Settings.model_fields)
    for name, value in said.items():
        monkeypatch.setenv(variable(name), value)
    settings = load_settings()
    assert settings.urls("retrieval") == ["http://one:1", "http://two:2/"]
    assert settings.served_indexes() == {"wiki": "wiki", "news": "/data/news"}
    assert (settings.stages_here(), settings.index_name) == ([], "wiki")
    assert (settings.connect_seconds, settings.read_seconds, settings.max_hits) == (1.5, 30, 500)
    pipeline = settings.for_pipeline()
    assert (settings.max_depth, settings.max_body_bytes, settings.max_waiting) == (9, 1000, 0)
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value().endswith("@cache:6379/1")
    assert "secret" not in repr(settings)
    assert settings.cache_seconds == 60
    assert (settings.log_format, settings.api_keys) == ("json", Path("keys.txt"))
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
    assert pipeline.store == StoreOptions(Path("/states"), 123, "redis://:secret@host/0")
    assert pipeline.late == LateOptions(int8=True, memory=456, host_memory=789)
    assert (pipeline.generator, pipeline.policy, pipeline.sparsity) == ("local", "duo", 0.25)
    assert pipeline.openai is None
    assert settings.model_copy(update={"generator": "openai"}).for_openai() == OpenAIOptions(
        "http://host/v1", "there", SecretStr("a-secret"), 12.5
    )
    assert settings.threads == 4
    assert "secret" not in f"{settings!r} {pipeline!r}"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RAGNAROK_DEPTH", "0", "RAGNAROK_DEPTH='0': Input should be greater than or equal to 1"),
        ("RAGNAROK_DEPTH", "many", "RAGNAROK_DEPTH='many'.*valid integer"),
        ("RAGNAROK_DEPTH", "101", "RAGNAROK_DEPTH=101 is over RAGNAROK_MAX_DEPTH=100"),
        ("RAGNAROK_METHOD", "bm52", "RAGNAROK_METHOD='bm52'.*'bm25', 'dense' or 'hybrid'"),
        ("RAGNAROK_RERANK", "perhaps", "RAGNAROK_RERANK='perhaps'"),
        ("RAGNAROK_STORE_BYTES", "0", "RAGNAROK_STORE_BYTES='0'"),
        ("RAGNAROK_HOST_MEMORY_BYTES", "-1", "RAGNAROK_HOST_MEMORY_BYTES='-1'"),
        ("RAGNAROK_POLICY", "dou", "RAGNAROK_POLICY='dou': .*full, streaming, duo, razor"),
        ("RAGNAROK_SPARSITY", "2", "RAGNAROK_SPARSITY='2'.*less than or equal to 1"),
        ("RAGNAROK_THREADS", "0", "RAGNAROK_THREADS='0'"),
        ("RAGNAROK_B", "2", "RAGNAROK_B='2'.*less than or equal to 1"),
        ("RAGNAROK_SERVE", "everything", "RAGNAROK_SERVE='everything'.*'gateway'"),
        ("RAGNAROK_SERVE", "gateway", "needs RAGNAROK_RETRIEVAL_URL, RAGNAROK_RERANK_URL, RAGNAROK_GENERAT"),
        ("RAGNAROK_RERANK_URL", "http://", "RAGNAROK_RERANK_URL='http://'.*give http://HOST:PORT"),
        ("RAGNAROK_RERANK_URL", "http://a,host:1", "'host:1' is no address"),
        ("RAGNAROK_RERANK_URL", "http://h:99999", "no address"),
        ("RAGNAROK_INDEXES", "a/x,b/x", "names two indexes 'x'"),
        ("RAGNAROK_INDEXES", "wiki", "lacks RAGNAROK_INDEX='demo'"),
        ("RAGNAROK_MAX_HITS", "10001", "RAGNAROK_MAX_HITS='10001'.*less than or equal to 10000"),
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


def test_a_stage_asks_nobody_and_does_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGNAROK_SERVE", "rerank")
    assert load_settings().stages_here() == ["rerank"]
    monkeypatch.setenv("RAGNAROK_RETRIEVAL_URL", "http://host")
    with pytest.raises(BadSetting, match="RAGNAROK_SERVE=rerank asks nobody: leave RAGNAROK_RETRIEVAL_URL"):
        load_settings()
    monkeypatch.delenv("RAGNAROK_RETRIEVAL_URL")
    monkeypatch.setenv("RAGNAROK_RERANK", "false")
    with pytest.raises(BadSetting, match="RAGNAROK_RERANK=false"):
        load_settings()


def test_what_has_no_address_is_done_here() -> None:
    assert Settings(retrieval_url="http://host").stages_here() == ["rerank", "generation"]
