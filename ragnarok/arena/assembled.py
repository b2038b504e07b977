"""Systems of this process: pipelines made of parts that equal ones share.

An index is opened, and a model loaded, once, however many systems use it, and not at all where it is lent;
what a re-ranker has read serves all systems whose re-rankers read alike (`reranking`), and a generator is
made once for all that want the same of the same model.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import SecretStr

from indexes import Index, open_index
from indexes.catalogue import locate
from ragnarok.arena.configuration import PipelineEntry
from ragnarok.arena.lent import NOTHING, Lent
from ragnarok.arena.reranking import Rerankers, told
from ragnarok.arena.types import System
from ragnarok.assemble import (
    IndexRetriever,
    PipelineSettings,
    build_endpoint,
    build_generator,
)
from ragnarok.generators import LocalOptions, OpenAIGenerator, OpenAIOptions, QuoteGenerator
from ragnarok.pipeline import Event, Pipeline, close_parts
from ragnarok.rerankers import KeepOrder
from ragnarok.seams import Generator, Reranker
from rerank.model import PACKAGED, Model, load_model
from rerank.profile import read_profile

_OF_GENERATOR = (
    "model",
    "profile",
    "generator",
    "prompt",
    "passages",
    "passage_tokens",
    "max_tokens",
    "policy",
    "sparsity",
    "openai_base_url",
    "openai_model",
    "openai_timeout",
)


class PipelineContender:
    """A pipeline of this process as a system; whoever made its parts closes them."""

    topics: str | None = None

    def __init__(self, system: System, pipeline: Pipeline) -> None:
        """Ask `pipeline`, by the name and configuration of `system`."""
        self.system, self.pipeline = system, pipeline

    def stream(self, question: str, qid: str | None = None) -> Iterator[Event]:
        """What each stage comes to. Raises `BadQuery` and the seams' errors."""
        del qid
        return self.pipeline.stream(question)


class Parts:
    """The indexes, models, re-rankers and generators that systems share; to be closed."""

    def __init__(
        self, folder: Path, say: Callable[[str], None] = lambda _: None, lent: Lent = NOTHING
    ) -> None:
        """Take paths from `folder`, and use what is `lent`; `say` hears what is being opened."""
        self._folder, self._say = folder, say
        self._indexes = {_index_key(index.folder): index for index in lent.indexes}
        self._models = {_model_key(model.name): model for model in lent.models}
        self._opened: list[Index] = []
        self._rerankers = Rerankers()
        self._generators: dict[tuple[object, ...], Generator] = {}

    def close(self) -> None:
        """Close all of them but what was lent."""
        close_parts(*self._opened, self._rerankers, *self._generators.values())

    def index(self, name: str) -> Index:
        """The index of this name or path. Raises `IndexNotFound`, `IndexBroken` and `JavaMissing`."""
        folder = locate(self._place(name))
        key = _index_key(folder)
        if key not in self._indexes:
            self._say(f"opening index {name}")
            self._indexes[key] = index = open_index(folder)
            self._opened.append(index)
        return self._indexes[key]

    def model(self, name: str) -> Model:
        """The model of this name, path or hub id. Raises `ModelNotFound` and `ModelUnfit`."""
        place = self._place(name)
        key = _model_key(place)
        if key not in self._models:
            self._say(f"loading model {name}")
            self._models[key] = load_model(place)
        return self._models[key]

    def contender(self, name: str, entry: PipelineEntry) -> PipelineContender:
        """The system that an entry describes. Raises what opening, loading and making its parts raise."""
        index = self.index(entry.index)
        settings = self._settings(entry)
        reranker: Reranker = KeepOrder()
        if entry.rerank:
            reranker = self._rerankers.make(self.model(entry.model), settings)
        generator = self._generator(entry, settings)
        components = {
            "index": f"{entry.index} {_digest(asdict(index.manifest))}",
            "first_stage": _first_stage(index, settings),
            "top_k": str(entry.top_k),
            "model": self._model_told(entry),
            "reranker": told(reranker, settings),
            "generator": _generator_told(generator, settings),
            "prompt": " ".join(entry.prompt.split()) or "none of its own",
        }
        pipeline = Pipeline(IndexRetriever(index, settings), reranker, generator, depth=entry.top_k)
        return PipelineContender(System(name, components), pipeline)

    def _settings(self, entry: PipelineEntry) -> PipelineSettings:
        openai = None
        if entry.generator == "openai":
            key = SecretStr(os.environ.get("RAGNAROK_OPENAI_API_KEY", ""))
            openai = OpenAIOptions(entry.openai_base_url, entry.openai_model, key, entry.openai_timeout)
        return PipelineSettings(
            index=entry.index,
            method=entry.method,
            model=entry.model,
            rerank=entry.rerank,
            mode=entry.mode,
            profile=None if entry.profile is None else read_profile(self._folder / entry.profile),
            first_stage=entry.first_stage,
            generator=entry.generator,
            generate=LocalOptions(
                entry.passages, entry.passage_tokens, entry.max_tokens, prompt=entry.prompt.strip()
            ),
            openai=openai,
            policy=entry.policy,
            sparsity=entry.sparsity,
            depth=entry.top_k,
            k1=entry.k1,
            b=entry.b,
        )

    def _generator(self, entry: PipelineEntry, settings: PipelineSettings) -> Generator:
        key = _values(entry, _OF_GENERATOR)
        if key not in self._generators:
            remote = entry.generator == "openai"
            made = build_endpoint(settings) if remote else build_generator(self.model(entry.model), settings)
            self._generators[key] = made
        return self._generators[key]

    def _model_told(self, entry: PipelineEntry) -> str:
        used = entry.rerank or entry.generator != "openai"
        return f"{entry.model} {self.model(entry.model).digest[:8]}" if used else "none"

    def _place(self, name: str) -> str:
        """A path that counts from the configuration's folder, if there is one; otherwise a name."""
        path = self._folder / name
        return str(path) if os.sep in name and path.exists() else name


def _index_key(folder: Path) -> tuple[Path, str]:
    """Tells indexes apart: by the folder, and by its name, for without a manifest an index is called so."""
    return folder.resolve(), folder.name


def _model_key(source: str) -> str | Path:
    """Tells models apart: a path by where it leads, any other name by itself."""
    # A name that no path can have (too long, of an unknown user) leads nowhere.
    with contextlib.suppress(OSError, RuntimeError):
        path = Path(source).expanduser()
        if source not in PACKAGED and path.exists():
            return path.resolve()
    return source


def _values(entry: PipelineEntry, names: Sequence[str]) -> tuple[object, ...]:
    return tuple(getattr(entry, name) for name in names)


def _digest(record: Mapping[str, object]) -> str:
    told = json.dumps(record, sort_keys=True).encode()
    return hashlib.blake2b(told, digest_size=4).hexdigest()


def _first_stage(index: Index, settings: PipelineSettings) -> str:
    held = list(index.manifest.parts)
    method = settings.method or ("hybrid" if len(held) > 1 else held[0])
    return method if method == "dense" else f"{method} k1={settings.k1:g} b={settings.b:g}"


def _generator_told(generator: Generator, settings: PipelineSettings) -> str:
    how = settings.generate
    if isinstance(generator, QuoteGenerator):
        return "quote"
    read = f"passages={how.passages} passage_tokens={how.passage_tokens} max_tokens={how.max_tokens}"
    if isinstance(generator, OpenAIGenerator):
        return f"openai {generator.options.model} {read}"
    policy = settings.policy if settings.policy != "duo" else f"duo sparsity={settings.sparsity:g}"
    return f"local {read} policy={policy}"
