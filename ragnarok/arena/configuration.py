"""The arena's configuration file: which systems may meet, and on which topic sets (docs/arena.md).

TOML in, checked entries out; a name that is nearly one of ours is refused with the right one. Knows nothing
of how systems are opened.
"""

import difflib
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from indexes import Method
from ragnarok.arena.signs import address_signs
from ragnarok.errors import BadSetting, NotFound
from ragnarok.trec import read_topics
from ragnarok.types import GeneratorName, Mode, Topic


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PipelineEntry(_Entry):
    """A system of this process; what is not said is as `ragnarok.assemble.PipelineSettings` has it."""

    index: str = Field(default="demo", description="Name or path of the index.")
    method: Method | None = Field(default=None, description="bm25, dense or hybrid; the best there is.")
    k1: float = Field(default=0.9, ge=0, description="BM25's k1.")
    b: float = Field(default=0.4, ge=0, le=1, description="BM25's b.")
    top_k: int = Field(default=20, ge=1, le=1000, description="Passages that are retrieved and re-ranked.")
    model: str = Field(default="smollm2-135m", description="Name, path or hub id of the model.")
    rerank: bool = Field(default=True, description="Whether attention re-ranks.")
    mode: Mode | None = Field(default=None, description="late, read or joint; late where it can be.")
    profile: str | None = Field(default=None, description="Head profile; the one that comes with the model.")
    first_stage: float | None = Field(default=None, ge=0, description="Weight of the first stage's rank.")
    generator: GeneratorName | None = Field(default=None, description="local, quote or openai.")
    prompt: str = Field(
        default="",
        max_length=2000,
        description="What a model that writes is told to do with the passages; the program's own.",
    )
    passages: int = Field(default=5, ge=1, description="Passages that answers are written from.")
    passage_tokens: int = Field(default=256, ge=1, description="Tokens of each that are read.")
    max_tokens: int = Field(default=256, ge=1, description="Tokens of the longest answer.")
    policy: str = Field(default="full", description="Attention policy of a model that writes.")
    sparsity: float = Field(default=0.5, ge=0, le=1, description="duo: share of streaming heads.")
    openai_base_url: str = Field(default="", description="openai: the endpoint.")
    openai_model: str = Field(default="", description="openai: the model's name there.")
    openai_timeout: float = Field(default=60.0, gt=0, description="openai: seconds for an answer.")


class RemoteEntry(_Entry):
    """A system elsewhere, asked by `POST URL/v1/query`."""

    url: str = Field(description="Its address; it answers /v1/query as this program's service does.")
    key_variable: str | None = Field(default=None, description="Environment variable with its API key.")
    timeout: float = Field(default=60.0, gt=0, description="Seconds for an answer.")

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.query:
            raise ValueError("is no address such as http://host:8000 (a key has its place in key_variable)")
        return value.rstrip("/")


class AnswersEntry(_Entry):
    """A system whose answers to a topic set are in a TREC answer file."""

    answers: str = Field(description="The answer file, JSONL in the form of TREC RAG.")
    topics: str = Field(description="The topic set that it answers: a name of [topics].")
    index: str | None = Field(default=None, description="Index that has the cited passages' text.")


Entry: TypeAlias = PipelineEntry | RemoteEntry | AnswersEntry


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a file says: entries by the systems' names, topic sets by theirs; paths count from `folder`.

    `masked_names` are hidden in answers until the vote, as the systems' own are.
    """

    folder: Path
    systems: dict[str, Entry]
    topics: dict[str, tuple[Topic, ...]]
    masked_names: tuple[str, ...] = ()

    @property
    def masked(self) -> tuple[str, ...]:
        """`masked_names`, and the names of the models and profiles that systems are made of.

        A name that is a path or a hub id is there as it stands, and as its last part with and without its
        suffix.
        """
        named = [
            name
            for entry in self.systems.values()
            if isinstance(entry, PipelineEntry)
            for name in (entry.model, entry.openai_model, entry.profile or "")
        ]
        parts = [part for name in named for part in (name, PurePath(name).name, _stem(name))]
        return tuple(dict.fromkeys(filter(None, [*self.masked_names, *parts])))

    @property
    def signs(self) -> tuple[str, ...]:
        """Hosts of systems and endpoints elsewhere, and kinds of generators, or what they may come to."""
        found: list[str] = []
        for entry in self.systems.values():
            if isinstance(entry, RemoteEntry):
                found += address_signs(entry.url)
            elif isinstance(entry, PipelineEntry):
                found += address_signs(entry.openai_base_url)
                found += [entry.generator] if entry.generator else ["local", "quote"]
        return tuple(dict.fromkeys(found))


def read_configuration(path: Path) -> Configuration:
    """Read a file, and the topic sets it names.

    Raises `NotFound`, `BadFormat` for a topic set, and `BadSetting` for everything else that cannot be, with
    the entry's name.
    """
    document = _document(path)
    _check_keys(str(path), document, ("topics", "systems", "masked_names"))
    topics = {}
    for name, file in _table(path, document, "topics").items():
        _check_name(f"{path}, [topics]", name)
        if not isinstance(file, str):
            raise BadSetting(f"{path}, [topics]: {name} is a topic file's path, not {file!r}")
        topics[name] = tuple(read_topics(path.parent / file))
    systems = {
        name: _entry(f"{path}, [systems.{name}]", name, record, topics)
        for name, record in _table(path, document, "systems").items()
    }
    if len(systems) < 2:
        raise BadSetting(f"{path}: {len(systems)} system(s); an arena needs two: [systems.NAME] begins one")
    return Configuration(path.parent, systems, topics, _masked(path, document))


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise NotFound(f"{path}: the arena's configuration cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise BadSetting(f"{path}: is not TOML ({error})") from error


def _masked(path: Path, document: dict[str, Any]) -> tuple[str, ...]:
    names = document.get("masked_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        raise BadSetting(f'{path}: masked_names is a list of names such as ["Qwen"], not {names!r}')
    return tuple(names)


def _stem(name: str) -> str:
    """The last part of a name without its suffix, if that is a file's: `2.5` has none."""
    last = PurePath(name)
    return last.stem if last.suffix in {".gguf", ".json"} else ""


def _table(path: Path, document: dict[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise BadSetting(f"{path}: {name} is a table, [{name}], not {table!r}")
    return table


def _entry(place: str, name: str, record: object, topics: Collection[str]) -> Entry:
    _check_name(place, name)
    if not isinstance(record, dict):
        raise BadSetting(f"{place} is a table of its own, not {record!r}")
    kind: type[Entry] = PipelineEntry
    if "url" in record:
        kind = RemoteEntry
    elif "answers" in record:
        kind = AnswersEntry
    _check_keys(place, record, tuple(kind.model_fields))
    try:
        entry = kind(**record)
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, e['loc']))} = {e['input']!r}: {e['msg']}" for e in error.errors()]
        raise BadSetting(f"{place}: {'; '.join(wrong)}") from None
    if isinstance(entry, AnswersEntry) and entry.topics not in topics:
        there = ", ".join(topics) or "none"
        raise BadSetting(f"{place}: there is no topic set {entry.topics!r} under [topics], only {there}")
    return entry


def _check_name(place: str, name: str) -> None:
    if not name.strip() or not name.isprintable() or len(name) > 80:
        raise BadSetting(f"{place}: the name {name!r} has to have 1 to 80 characters that can be seen")


def _check_keys(place: str, record: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in record:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.6)
            way_out = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise BadSetting(f"{place}: there is no key {key!r}; {way_out}")
