"""What the environment may say."""

import socket
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from ragnarok.assemble import PipelineSettings
from ragnarok.cli.app import app
from ragnarok.documents import StoreOptions
from ragnarok.errors import BadSetting
from ragnarok.generators import OpenAIOptions
from rerank.late.reranker import LateOptions
from rerank.profile import PROFILES, read_profile
from service import server
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
        "upstream_key": "b-hush",
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
        "device": "cpu",
        "rerank": "false",
        "mode": "joint",
        "profile": str(next(PROFILES.glob("*.json"))),
        "first_stage": "0.5",
        "store": "/states",
        "store_bytes": "123",
        "store_redis": "redis://:hush@host/0",
        "int8": "true",
        "memory_bytes": "456",
        "host_memory_bytes": "789",
        "generator": "local",
        "openai_base_url": "http://host/v1",
        "openai_api_key": "a-hush",
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
        "redis_url": "redis://:hush@cache:6379/1",
        "cache_seconds": "60",
        "api_keys": "keys.txt",
        "log_format": "json",
        "max_body_bytes": "1000",
        "max_waiting": "0",
        "arena": "arena.toml",
        "arena_store": "postgresql://arena:hush@host/arena",
        "arena_secret": "an-arena-hush",
        "arena_battles": "7",
        "arena_compare": "false",
        "arena_votes": "70",
        "rate_limit": "60",
        "max_in_flight": "8",
        "request_seconds": "20.5",
        "body_seconds": "5",
        "stream_seconds": "90",
        "shutdown_seconds": "12",
        "cors_origins": "https://chat.test, http://localhost:3000",
        "log_questions": "true",
        "otlp_endpoint": "http://collector:4318",
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
    assert "hush" not in repr(settings)
    assert settings.cache_seconds == 60
    assert (settings.rate_limit, settings.max_in_flight, settings.shutdown_seconds) == (60, 8, 12)
    assert (settings.request_seconds, settings.body_seconds, settings.stream_seconds) == (20.5, 5, 90)
    assert (settings.cors_origins, settings.log_questions) == (said["cors_origins"], True)
    assert (settings.arena, settings.arena_battles, settings.arena_votes) == (Path("arena.toml"), 7, 70)
    assert settings.otlp_endpoint == "http://collector:4318"
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
    assert pipeline.store == StoreOptions(Path("/states"), 123, "redis://:hush@host/0")
    assert pipeline.late == LateOptions(int8=True, memory=456, host_memory=789)
    assert (pipeline.generator, pipeline.policy, pipeline.sparsity) == ("local", "duo", 0.25)
    assert pipeline.openai is None
    assert settings.model_copy(update={"generator": "openai"}).for_openai() == OpenAIOptions(
        "http://host/v1", "there", SecretStr("a-hush"), 12.5
    )
    assert (settings.device, settings.threads) == ("cpu", 4)
    assert "hush" not in f"{settings!r} {pipeline!r}"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RAGNAROK_DEPTH", "0", "RAGNAROK_DEPTH='0': Input should be greater than or equal to 1"),
        ("RAGNAROK_DEPTH", "many", "RAGNAROK_DEPTH='many'.*valid integer"),
        ("RAGNAROK_DEPTH", "101", "RAGNAROK_DEPTH=101 is over RAGNAROK_MAX_DEPTH=100"),
        ("RAGNAROK_METHOD", "bm52", "RAGNAROK_METHOD='bm52'.*'bm25', 'dense' or 'hybrid'"),
        ("RAGNAROK_DEVICE", "gpu", "RAGNAROK_DEVICE='gpu'.*'cpu' or 'cuda'"),
        ("RAGNAROK_RERANK", "perhaps", "RAGNAROK_RERANK='perhaps'"),
        ("RAGNAROK_STORE_BYTES", "0", "RAGNAROK_STORE_BYTES='0'"),
        ("RAGNAROK_HOST_MEMORY_BYTES", "-1", "RAGNAROK_HOST_MEMORY_BYTES='-1'"),
        ("RAGNAROK_POLICY", "dou", "RAGNAROK_POLICY='dou': .*full, streaming, duo, razor"),
        ("RAGNAROK_SPARSITY", "2", "RAGNAROK_SPARSITY='2'.*less than or equal to 1"),
        ("RAGNAROK_THREADS", "0", "RAGNAROK_THREADS='0'"),
        ("RAGNAROK_B", "2", "RAGNAROK_B='2'.*less than or equal to 1"),
        ("RAGNAROK_K1", "inf", "RAGNAROK_K1='inf'.*less than or equal to 1000000"),
        ("RAGNAROK_FIRST_STAGE", "inf", "RAGNAROK_FIRST_STAGE='inf'.*less than or equal to 1000000"),
        ("RAGNAROK_UPSTREAM_KEY", "rag_key\n", "RAGNAROK_UPSTREAM_KEY=…: .*no header can hold it"),
        ("RAGNAROK_SERVE", "everything", "RAGNAROK_SERVE='everything'.*'gateway'"),
        ("RAGNAROK_SERVE", "gateway", "needs RAGNAROK_RETRIEVAL_URL, RAGNAROK_RERANK_URL, RAGNAROK_GENERAT"),
        ("RAGNAROK_RERANK_URL", "http://", "RAGNAROK_RERANK_URL='http://'.*give http://HOST:PORT"),
        ("RAGNAROK_RERANK_URL", "http://a,host:1", "'host:1' is no address"),
        ("RAGNAROK_RERANK_URL", "http://h:99999", "no address"),
        ("RAGNAROK_RERANK_URL", "http://a b", "'http://a b' is no address"),
        ("RAGNAROK_INDEXES", "a/x,b/x", "names two indexes 'x'"),
        ("RAGNAROK_INDEXES", "wiki", "lacks RAGNAROK_INDEX='demo'"),
        ("RAGNAROK_MAX_HITS", "10001", "RAGNAROK_MAX_HITS='10001'.*less than or equal to 10000"),
        ("RAGNAROK_RATE_LIMIT", "0", "RAGNAROK_RATE_LIMIT='0'.*greater than or equal to 1"),
        ("RAGNAROK_BODY_SECONDS", "0", "RAGNAROK_BODY_SECONDS='0'.*greater than 0"),
        ("RAGNAROK_CORS_ORIGINS", "https://a.test/", "'https://a.test/' is no origin"),
        ("RAGNAROK_CORS_ORIGINS", "a.test", "'a.test' is no address"),
        ("RAGNAROK_OTLP_ENDPOINT", "collector:4317", "RAGNAROK_OTLP_ENDPOINT='collector:4317'.*no address"),
        ("RAGNAROK_SETTING", "a.toml", "RAGNAROK_SETTING is no setting; did you mean RAGNAROK_SETTINGS?"),
        (
            "RAGNAROK_SETTINGS",
            "/no/such.toml",
            "RAGNAROK_SETTINGS='/no/such.toml' cannot be read.*No such file",
        ),
        ("RAGNAROK_MAX_TOKNES", "64", "RAGNAROK_MAX_TOKNES is no setting; did you mean RAGNAROK_MAX_TOKENS?"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSetting, match=said):
        load_settings()


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A settings file that the environment names."""
    monkeypatch.setenv("RAGNAROK_SETTINGS", str(tmp_path / "settings.toml"))
    return tmp_path / "settings.toml"


def test_the_environment_wins_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(
        'index = "wiki"\ndepth = 7\nrerank = false\nk1 = 1.2\nredis_url = "redis://:hush@host/0"\n'
    )
    monkeypatch.setenv("RAGNAROK_DEPTH", "9")
    settings = load_settings()
    assert (settings.index, settings.depth, settings.rerank, settings.k1) == ("wiki", 9, False, 1.2)
    assert settings.redis_url == SecretStr("redis://:hush@host/0")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("depht = 3", "'depht' in .*settings.toml is no setting; did you mean depth?"),
        ("RAGNAROK_DEPTH = 3", "'RAGNAROK_DEPTH' in .* is no setting; did you mean depth?"),
        ("[limits]\ndepth = 3", "'limits' in .* is no setting"),
        ("depth =", "settings.toml' is no TOML: .*Invalid value"),
        ("depth = 0", "depth = 0 in .*settings.toml: Input should be greater than or equal to 1"),
        ('depth = "many"', "depth = 'many' in .*: .*valid integer"),
        ("redis_url = 12345", "redis_url = … in .*settings.toml: .*valid string"),
    ],
)
def test_a_file_that_cannot_be_is_refused_by_name(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    with pytest.raises(BadSetting, match=said) as refused:
        load_settings()
    assert "12345" not in str(refused.value)


def test_a_file_that_is_no_text_is_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(BadSetting, match="is no TOML"):
        load_settings()


def test_the_command_line_sets_only_what_it_is_given(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('index = "wiki"\nmodel = "large"\nrate_limit = 5\n')
    seen: list[Settings] = []
    monkeypatch.setattr(server, "run", lambda *_: seen.append(load_settings()))
    # What the command sets is undone with the test.
    for name in ("RAGNAROK_INDEX", "RAGNAROK_MODEL"):
        monkeypatch.setenv(name, "")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    for more in ([], ["--index", "news"]):
        done = CliRunner().invoke(app, ["serve", "--port", port, *more])
        assert done.exit_code == 0, done.output
    assert [(one.index, one.model, one.rate_limit) for one in seen] == [
        ("wiki", "large", 5),
        ("news", "large", 5),
    ]


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
