"""What the service is told from outside: environment variables that begin with RAGNAROK_, and a file.

The file is TOML, each setting by its name; the variable RAGNAROK_SETTINGS names it. The environment wins.
Knows which values are possible, and what they mean to the pipeline; not how anything is built of them.
"""

import difflib
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from indexes import MAX_K, Method
from ragnarok.documents import STORE_BYTES, StoreOptions
from ragnarok.errors import BadSetting
from ragnarok.types import GeneratorName, Mode
from rerank.errors import BadPolicy
from rerank.profile import read_profile

if TYPE_CHECKING:
    from ragnarok.assemble import PipelineSettings
    from ragnarok.generators import OpenAIOptions

PREFIX = "RAGNAROK_"

FILE = "RAGNAROK_SETTINGS"
"""The environment variable that names the settings file."""

Role = Literal["all", "retrieval", "rerank", "generation", "gateway"]
"""What a process does: everything, one of the three stages, or joining those that others do."""

STAGES = ("retrieval", "rerank", "generation")


class Settings(BaseSettings):
    """Every setting of the service; `RAGNAROK_` and the name in capitals is its environment variable."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given by name comes first, then the environment, then the file if there is one."""
        file = settings_file()
        files = () if file is None else (TomlConfigSettingsSource(settings_cls, file),)
        return init_settings, env_settings, *files, dotenv_settings, file_secret_settings

    serve: Role = Field(
        default="all",
        description="What this process does: all; one stage (retrieval, rerank, generation) for others to "
        "ask; or gateway, which asks others for all three.",
    )
    retrieval_url: str | None = Field(
        default=None,
        description="Where the gateway, or a process that does all the rest, has passages retrieved: "
        "http://HOST:PORT, several with commas; Pyserini's REST server will do.",
    )
    rerank_url: str | None = Field(
        default=None, description="Where it has them re-ranked: http://HOST:PORT, several with commas."
    )
    generation_url: str | None = Field(
        default=None, description="Where it has questions answered: http://HOST:PORT, several with commas."
    )
    upstream_key: SecretStr | None = Field(
        default=None, description="API key that those services want, sent as Authorization: Bearer."
    )
    connect_seconds: float = Field(
        default=2.0, gt=0, description="Seconds in which one of those services must take a connection."
    )
    read_seconds: float = Field(
        default=60.0, gt=0, description="Seconds for which one of those services may say nothing."
    )
    index: str = Field(
        default="demo", min_length=1, description="Name or path of the index that is searched."
    )
    indexes: str | None = Field(
        default=None,
        description="Names or paths of all indexes that may be searched by name, with commas; "
        "RAGNAROK_INDEX alone when not set.",
    )
    method: Method | None = Field(
        default=None,
        description="First stage: bm25, dense or hybrid; the best that the index has when not set.",
    )
    model: str = Field(
        default="smollm2-135m",
        min_length=1,
        description="Name, path or hub id of the model that re-ranks and answers.",
    )
    rerank: bool = Field(
        default=True, description="Whether the model's attention re-ranks what was retrieved."
    )
    mode: Mode | None = Field(
        default=None,
        description="late: passages are read alone and kept; read: the question reads them all; "
        "joint: one prompt holds all. late where the model has a profile when not set.",
    )
    profile: Path | None = Field(
        default=None, description="Head profile (JSON); the one that comes with the model when not set."
    )
    first_stage: float | None = Field(
        default=None,
        ge=0,
        description="Weight of the first stage's rank against attention, 0 is attention alone; "
        "as the profile says, 1 in joint mode, when not set.",
    )
    store: Path | None = Field(
        default=None, description="Folder that keeps what late mode reads of passages; none when not set."
    )
    store_bytes: int = Field(
        default=STORE_BYTES, ge=1, description="How large that folder may grow, in bytes."
    )
    store_redis: str | None = Field(
        default=None,
        repr=False,
        description="Redis that keeps it for several machines, redis://HOST:PORT/DATABASE; "
        "with a folder too, the folder is behind it.",
    )
    int8: bool = Field(
        default=False, description="Whether late mode keeps passages' keys in one byte a number."
    )
    memory_bytes: int = Field(
        default=1 << 30,
        ge=1,
        description="Bytes of passages' keys that late mode has in memory.",
    )
    host_memory_bytes: int = Field(
        default=0, ge=0, description="Bytes of pinned memory beside a GPU that late mode has behind those."
    )
    depth: int = Field(
        default=20, ge=1, description="Passages that are retrieved and re-ranked for a question."
    )
    max_depth: int = Field(default=100, ge=1, description="The largest depth that a request may ask for.")
    rerank_tokens: int = Field(
        default=160, ge=1, description="Tokens of each passage that the re-ranker reads."
    )
    k1: float = Field(
        default=0.9, ge=0, description="BM25: how soon more of the same word counts no further."
    )
    b: float = Field(default=0.4, ge=0, le=1, description="BM25: how much longer passages are marked down.")
    generator: GeneratorName | None = Field(
        default=None,
        description="local: the model writes; quote: the passages' own sentences; openai: a model behind an "
        "endpoint; by the model's size when not set.",
    )
    openai_base_url: str | None = Field(
        default=None,
        repr=False,
        description="openai: the endpoint, what /chat/completions is added to, such as "
        "http://localhost:8000/v1.",
    )
    openai_api_key: SecretStr | None = Field(
        default=None, description="openai: the endpoint's key; none for one that asks for none."
    )
    openai_model: str | None = Field(default=None, description="openai: the model's name at the endpoint.")
    openai_timeout: float = Field(
        default=60.0, gt=0, description="openai: seconds after which an answer that is not complete fails."
    )
    policy: str = Field(
        default="full",
        description="Attention policy of a model that writes, what it keeps in view: full, streaming, "
        "duo (needs a profile with gates) or razor (looks for its heads at the start).",
    )
    sparsity: float = Field(
        default=0.5, ge=0, le=1, description="duo: share of the KV heads that do not keep everything."
    )
    passages: int = Field(default=5, ge=1, description="The best passages that an answer is written from.")
    passage_tokens: int = Field(
        default=256, ge=1, description="Tokens of each passage that an answer is written from."
    )
    max_tokens: int = Field(default=256, ge=1, description="Tokens of the longest answer.")
    redis_url: SecretStr | None = Field(
        default=None, description="Redis that keeps answers (redis://HOST:PORT/DATABASE); none when not set."
    )
    cache_seconds: int = Field(default=3600, ge=1, description="How long an answer is kept in Redis.")
    api_keys: Path | None = Field(
        default=None,
        description="File of API keys' lines (ragnarok keys NAME); nobody needs a key when not set.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="How each request's line in the log is written: text or json."
    )
    rate_limit: int | None = Field(
        default=None,
        ge=1,
        le=999_999,
        description="Requests a minute that a client may make: a key, or an address where no keys are; "
        "as many as they like when not set.",
    )
    max_in_flight: int | None = Field(
        default=None,
        ge=1,
        description="Requests of a client that this process answers at once; as many as it can when not set.",
    )
    request_seconds: float = Field(
        default=300.0, gt=0, description="Seconds after which an answer must have begun; then 504."
    )
    body_seconds: float = Field(
        default=30.0, gt=0, description="Seconds in which a request's body must have arrived; then 408."
    )
    stream_seconds: float = Field(
        default=600.0,
        gt=0,
        description="Seconds that an answer may take once it has begun; then it is cut off.",
    )
    shutdown_seconds: int = Field(
        default=30,
        ge=0,
        description="Seconds that answers being given may still take when the service is told to end.",
    )
    cors_origins: str | None = Field(
        default=None,
        description="Sites whose pages may ask from a browser: https://HOST, several with commas, or *; "
        "none when not set.",
    )
    log_questions: bool = Field(
        default=False, description="Whether a request's line in the log holds what was asked."
    )
    otlp_endpoint: str | None = Field(
        default=None,
        description="OpenTelemetry collector that is sent a trace of each request, http://HOST:4318; "
        "none when not set.",
    )
    max_body_bytes: int = Field(default=64 * 1024, ge=1, description="Bytes of the largest request body.")
    threads: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Questions that are worked on at once; their re-ranking shares the model's passes.",
    )
    max_hits: int = Field(
        default=1_000,
        ge=1,
        le=MAX_K,
        description="The most hits that a search may ask for; of a batch, for each query.",
    )
    max_queries: int = Field(default=1_000, ge=1, description="The most queries of a batch of searches.")
    max_documents: int = Field(
        default=10_000, ge=1, description="The most documents that a request may have re-ranked."
    )
    max_documents_bytes: int = Field(
        default=64 * 1024**2,
        ge=1,
        description="Bytes of the largest request body that brings documents (rerank, generate) or a batch.",
    )
    model_aliases: str | None = Field(
        default=None,
        description="Other names of the model that clients of /v1/rerank may ask for, with commas.",
    )
    arena: Path | None = Field(
        default=None,
        description="Arena's configuration (TOML), which names the systems that meet; no arena when not set.",
    )
    arena_store: SecretStr | None = Field(
        default=None,
        description="Database of its battles and votes: sqlite:///PATH or postgresql://USER@HOST/NAME; "
        "an SQLite file beside the configuration when not set.",
    )
    arena_secret: SecretStr | None = Field(
        default=None,
        description="What signs its tokens and cookies, 32 characters or more; "
        "made and kept in a file beside the configuration when not set.",
    )
    arena_battles: int = Field(
        default=20,
        ge=1,
        le=999_999,
        description="Battles and comparisons that a voter may begin in a minute.",
    )
    arena_votes: int = Field(
        default=60, ge=1, le=999_999, description="Votes that a voter may send in a minute."
    )
    max_waiting: int = Field(
        default=32,
        ge=0,
        description="Requests that may wait while as many as may are worked on; more are refused with 429.",
    )

    @field_validator("retrieval_url", "rerank_url", "generation_url")
    @classmethod
    def _are_addresses(cls, value: str | None) -> str | None:
        for url in split_list(value):
            check_url(url)
        return value

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            check_url(value)
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str | None) -> str | None:
        for origin in split_list(value):
            if origin != "*":
                check_url(origin)
                if urlsplit(origin).path:
                    raise ValueError(f"{origin!r} is no origin: give https://HOST without a path or slash")
        return value

    def urls(self, stage: str) -> list[str]:
        """The addresses of the services that do a stage (one of `STAGES`), none where this process does."""
        return split_list(getattr(self, f"{stage}_url"))

    def stages_here(self) -> list[str]:
        """The stages that this process does itself."""
        if self.serve in STAGES:
            return [self.serve]
        return [stage for stage in STAGES if self.serve == "all" and not self.urls(stage)]

    def served_indexes(self) -> dict[str, str]:
        """What clients call each index that is served, and its name or path."""
        return {Path(place).name: place for place in split_list(self.indexes) or [self.index]}

    @property
    def index_name(self) -> str:
        """What clients call the index that questions are asked of."""
        served = self.served_indexes()
        return next((name for name, place in served.items() if self.index in {name, place}), self.index)

    def for_openai(self) -> "OpenAIOptions | None":
        """The endpoint that answers, if one does. Raises `BadSetting`."""
        if self.generator != "openai":
            return None
        from ragnarok.generators import OpenAIOptions

        key = self.openai_api_key or SecretStr("")
        return OpenAIOptions(self.openai_base_url or "", self.openai_model or "", key, self.openai_timeout)

    def for_pipeline(self) -> "PipelineSettings":
        """The part of the settings that the pipeline is made of."""
        # Not at the top: these load torch, which a gateway does without.
        from ragnarok.assemble import PipelineSettings
        from ragnarok.generators import LocalOptions
        from rerank.icr import IcrOptions
        from rerank.late.reranker import LateOptions

        return PipelineSettings(
            index=self.index,
            method=self.method,
            model=self.model,
            rerank=self.rerank,
            mode=self.mode,
            profile=None if self.profile is None else read_profile(self.profile),
            late=LateOptions(int8=self.int8, memory=self.memory_bytes, host_memory=self.host_memory_bytes),
            store=StoreOptions(self.store, self.store_bytes, self.store_redis),
            first_stage=self.first_stage,
            icr=IcrOptions(passage_tokens=self.rerank_tokens),
            generator=self.generator,
            policy=self.policy,
            sparsity=self.sparsity,
            generate=LocalOptions(
                passages=self.passages, passage_tokens=self.passage_tokens, max_tokens=self.max_tokens
            ),
            openai=self.for_openai(),
            depth=self.depth,
            k1=self.k1,
            b=self.b,
        )


def split_list(value: str | None) -> list[str]:
    """The parts of a list with commas."""
    return [part.strip() for part in (value or "").split(",") if part.strip()]


def check_url(url: str) -> None:
    """Refuse what is no http(s)://HOST[:PORT][/PATH], with a ValueError that says so."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fits = False
    if not fits or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{url!r} is no address of a service: give http://HOST:PORT")


def _check_roles(settings: Settings) -> None:
    """Refuse services that would not be asked, and a gateway that lacks one. Raises `BadSetting`."""
    given = [stage for stage in STAGES if settings.urls(stage)]
    names = {stage: variable(f"{stage}_url") for stage in STAGES}
    if settings.serve == "gateway" and (missing := [names[s] for s in STAGES if s not in given]):
        raise BadSetting(
            f"a gateway does nothing itself and needs {', '.join(missing)}; "
            f"{variable('serve')}=all does here what has no address"
        )
    if settings.serve in STAGES and given:
        raise BadSetting(
            f"{variable('serve')}={settings.serve} asks nobody: leave {names[given[0]]} out, or set "
            f"{variable('serve')} to gateway or all"
        )
    if settings.serve == "rerank" and not settings.rerank:
        raise BadSetting(f"{variable('serve')}=rerank does nothing with {variable('rerank')}=false; drop one")
    served = settings.served_indexes()
    if len(served) < len(split_list(settings.indexes) or [settings.index]):
        raise BadSetting(f"{variable('indexes')}={settings.indexes!r} names two indexes {_twice(settings)!r}")
    if settings.index not in {*served, *served.values()}:
        raise BadSetting(
            f"{variable('indexes')}={settings.indexes!r} lacks {variable('index')}={settings.index!r}, which "
            "questions are asked of; add it, or set the latter to one of them"
        )


def _check_policy(settings: Settings) -> None:
    """Refuse a policy before a model is loaded for it. Raises `BadSetting`."""
    from ragnarok.policies import check_policy

    try:
        check_policy(settings.policy, settings.sparsity)
    except BadPolicy as error:
        raise BadSetting(f"{variable('policy')}={settings.policy!r}: {error}") from None


def _twice(settings: Settings) -> str:
    names = [Path(place).name for place in split_list(settings.indexes)]
    return next(name for name in names if names.count(name) > 1)


def variable(field: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{field.upper()}"


def settings_file() -> Path | None:
    """The settings file, if one is named."""
    named = os.environ.get(FILE)
    return Path(named).expanduser() if named else None


def _check_file() -> None:
    """Refuse a file that is not there, is no TOML, or names what is no setting. Raises `BadSetting`."""
    file = settings_file()
    if file is None:
        return
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSetting(
            f"{FILE}={str(file)!r} cannot be read ({error.strerror}); correct or unset it"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{FILE}={str(file)!r} is no TOML: {error}") from None
    for name in said:
        if name not in Settings.model_fields:
            bare = name.removeprefix(PREFIX).lower()
            near = difflib.get_close_matches(bare, Settings.model_fields, 1, 0.6)
            hint = (
                f"did you mean {near[0]}?" if near else "docs/service.md lists them, here without RAGNAROK_"
            )
            raise BadSetting(f"{name!r} in {file} is no setting; {hint}")


def _wrong(field: str, value: object, why: str) -> str:
    """What is wrong with a setting's value, and where it stands; a secret is not repeated."""
    known = Settings.model_fields.get(field)
    open_ = known is None or (known.repr and SecretStr not in get_args(known.annotation))
    shown = repr(value) if open_ else "…"
    if os.environ.get(variable(field)) or settings_file() is None:
        return f"{variable(field)}={shown}: {why}"
    return f"{field} = {shown} in {settings_file()}: {why}"


def load_settings() -> Settings:
    """The settings of the environment and the file.

    Raises `BadSetting` with every value that cannot be, for a file that cannot be read or says more than
    settings, and for a variable that is nearly one of ours: a misspelt setting would otherwise go unnoticed.
    Other RAGNAROK_ variables belong to other rooms.
    """
    ours = [FILE, *map(variable, Settings.model_fields)]
    for name in sorted(os.environ):
        if (
            name.startswith(PREFIX)
            and name not in ours
            and (near := difflib.get_close_matches(name, ours, 1, 0.9))
        ):
            raise BadSetting(f"{name} is no setting; did you mean {near[0]}?")
    _check_file()
    try:
        settings = Settings()
    except ValidationError as error:
        raise BadSetting(
            "; ".join(_wrong(str(e["loc"][0]), e["input"], e["msg"]) for e in error.errors())
        ) from None
    settings.for_openai()
    _check_roles(settings)
    if "generation" in settings.stages_here():
        _check_policy(settings)
    if settings.depth > settings.max_depth:
        raise BadSetting(
            f"{variable('depth')}={settings.depth} is over {variable('max_depth')}={settings.max_depth}; "
            "lower the one or raise the other"
        )
    return settings
