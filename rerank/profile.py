"""The head profile: what is known of a model's attention heads, in one small file of JSON.

A profile says which heads score and with what weight, which KV heads need their whole context, and which
heads cite; docs/heads.md describes it field by field. Whatever is in a `HeadProfile` has been checked:
ranges, lengths, duplicates, and that every number is finite. This module needs no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import uuid
from dataclasses import MISSING, asdict, dataclass, field, fields
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rerank.errors import BadProfile
from rerank.fields import (
    check_length,
    check_list,
    check_number,
    check_pair,
    check_record,
    check_text,
    check_whole,
    in_order,
    read_json,
    set_field,
    shown,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PretrainedConfig

    from rerank.icr import Head
    from rerank.model import Model

PROFILE_VERSION = 2
"""The version of the file format that this module writes, and the only one that it reads."""

Kinds = Literal["query", "suffix", "null", "null-suffix"]
ROWS: tuple[Kinds, ...] = ("query", "suffix", "null", "null-suffix")
"""Which rows a signal may be read from."""

PROFILES = Path(__file__).with_name("profiles")
"""Where the profiles lie that come with the package."""

Note = str | int | float
"""What provenance may say of one thing."""

Group = tuple[int, int]
"""A layer and a KV head of it, both from 0."""

Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What a model must be for a profile to fit it. Differently tuned models of one shape are alike in it."""

    type: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocabulary: int

    def __post_init__(self) -> None:
        """Check every field; raises `BadProfile`."""
        check_text("type", self.type, empty=False)
        for item in fields(self)[1:]:
            set_field(self, item.name, check_whole(item.name, getattr(self, item.name), least=1))
        if self.heads % self.kv_heads:
            raise BadProfile(f"kv_heads is {self.kv_heads}: it must divide heads, which is {self.heads}")

    @classmethod
    def of(cls, model: Model | ModelIdentity) -> ModelIdentity:
        """The identity of a loaded model; an identity is its own."""
        return model if isinstance(model, ModelIdentity) else cls.of_config(model.network.config)

    @classmethod
    def of_config(cls, config: PretrainedConfig) -> ModelIdentity:
        """The identity of the model that transformers would make of `config`."""
        text: Any = config.get_text_config()
        heads = text.num_attention_heads
        return cls(
            type=str(config.model_type),
            layers=text.num_hidden_layers,
            heads=heads,
            kv_heads=getattr(text, "num_key_value_heads", None) or heads,
            head_dim=getattr(text, "head_dim", None) or text.hidden_size // heads,
            hidden=text.hidden_size,
            vocabulary=text.vocab_size,
        )


@dataclass(frozen=True, slots=True)
class Signal:
    """What one head says of a passage, and what it counts: weight · (signal − mean) / scale.

    `rows` are those it is read from: the query's own (`query`), those of the chat template after it
    (`suffix`), or those of the query N/A (`null`, `null-suffix`), which belong to the document alone.
    """

    layer: int
    head: int
    rows: Kinds
    weight: float
    mean: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        """Check every field; raises `BadProfile`."""
        _put_head(self)
        if self.rows not in ROWS:
            raise BadProfile(f"rows is {self.rows!r}: it must be one of {', '.join(ROWS)}")
        for name in ("weight", "mean", "scale"):
            set_field(self, name, check_number(name, getattr(self, name)))
        if self.scale <= 0:
            raise BadProfile(
                f"scale is {self.scale}: it must be above 0; leave a signal out that never varies"
            )


@dataclass(frozen=True, slots=True)
class JointHead:
    """A head whose attention mass ranks passages in the joint prompt, and what it counts."""

    layer: int
    head: int
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check every field; raises `BadProfile`."""
        _put_head(self)
        set_field(self, "weight", check_number("weight", self.weight))


@dataclass(frozen=True, slots=True)
class HeadProfile:
    """All that is known of one model's heads. Lists are kept in order of layer and head.

    `signals` score passages in late attention, under the prompt of version `prompt`, with passages cut to
    `passage_tokens`, the query standing `position` tokens behind the prefix, `repeats` times, so that its
    first words, too, are read by rows that have seen its last. Wherever they were read, each row is matched
    as if it stood `distance` tokens behind every token of a passage. The logarithm of the first stage's
    score weighs `lexical` where that stage matched words, its rank `learned` where it knew more
    (`rerank.fuse`). Where nothing has ranked a short list, the attention mass that its passages draw in one
    joint prompt weighs `together` beside the signals. `joint` scores in the joint prompt. `gates` (layers ×
    KV heads, 0 to 1) say how much a KV head needs the whole context, `citing` which heads look at what an
    answer draws on. Of `provenance`, nothing is ever computed.
    """

    model: ModelIdentity
    prompt: str = ""
    signals: tuple[Signal, ...] = ()
    joint: tuple[JointHead, ...] = ()
    gates: tuple[tuple[float, ...], ...] | None = None
    citing: tuple[Head, ...] = ()
    lexical: float = 0.0
    learned: float = 0.0
    together: float = 0.0
    passage_tokens: int = 400
    position: int = 512
    distance: int | None = None
    repeats: int = 1
    provenance: Mapping[str, Note] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check and order every field; raises `BadProfile`."""
        check_text("prompt", self.prompt)
        if self.signals and not self.prompt:
            raise BadProfile("prompt is empty: signals hold for one prompt only, so name its version")
        set_field(self, "signals", in_order("signals", self.signals, lambda s: (s.layer, s.head, s.rows)))
        set_field(self, "joint", in_order("joint", self.joint, lambda j: (j.layer, j.head)))
        citing = [check_pair(f"citing[{place}]", pair) for place, pair in enumerate(self.citing)]
        set_field(self, "citing", in_order("citing", citing, lambda pair: pair))
        for name, heads in (
            ("signals", [(s.layer, s.head) for s in self.signals]),
            ("joint", [(j.layer, j.head) for j in self.joint]),
            ("citing", self.citing),
        ):
            for layer, head in heads:
                self._check_head(name, layer, head)
        if self.gates is not None:
            set_field(self, "gates", self._checked_gates(self.gates))
        for name in ("lexical", "learned", "together"):
            set_field(self, name, check_number(name, getattr(self, name), least=0.0))
        set_field(self, "passage_tokens", check_whole("passage_tokens", self.passage_tokens, least=1))
        set_field(self, "position", check_whole("position", self.position))
        if self.distance is not None:
            set_field(self, "distance", check_whole("distance", self.distance))
        set_field(self, "repeats", check_whole("repeats", self.repeats, least=1))
        notes = {str(name): _note(f"provenance.{name}", note) for name, note in self.provenance.items()}
        set_field(self, "provenance", notes)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The (layer, KV head) pairs whose keys the signals need, in order, each once."""
        shared = self.model.heads // self.model.kv_heads
        return tuple(sorted({(signal.layer, signal.head // shared) for signal in self.signals}))

    @property
    def depth(self) -> int:
        """How many layers must run for the signals: the last scoring layer + 1, or 0."""
        return max((signal.layer + 1 for signal in self.signals), default=0)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that differ where anything but the provenance differs."""
        return hashlib.sha256(_written(self, provenance=False).encode()).hexdigest()[:16]

    def retrieval(self, sparsity: float) -> tuple[Group, ...]:
        """The KV heads that keep their whole context when a share `sparsity` of them does not.

        As published, those whose gate reaches the quantile `sparsity` of all gates; among equal gates the
        first keep, so the number kept depends on `sparsity` alone. Raises `BadProfile` without gates.
        """
        if self.gates is None:
            raise BadProfile(
                "the profile has no gates; import some: ragnarok heads import FOLDER --format duo"
            )
        if not 0 <= sparsity <= 1:
            raise BadProfile(f"sparsity is {sparsity}: it must be from 0 to 1")
        every = sorted(
            (-gate, layer, head) for layer, row in enumerate(self.gates) for head, gate in enumerate(row)
        )
        # At most n − 1 lie below a quantile; sparsity 1 leaves none, as published. Rounded: 0.07 · 100 > 7.
        streaming = len(every) if sparsity == 1 else math.ceil(round(sparsity * (len(every) - 1), 9))
        return tuple(sorted((layer, head) for _, layer, head in every[: len(every) - streaming]))

    def _check_head(self, name: str, layer: int, head: int) -> None:
        model = self.model
        if layer >= model.layers or head >= model.heads:
            raise BadProfile(
                f"{name} has head {layer}-{head}: layers go from 0 to {model.layers - 1}, "
                f"heads from 0 to {model.heads - 1}"
            )

    def _checked_gates(self, gates: Sequence[Sequence[float]]) -> tuple[tuple[float, ...], ...]:
        check_length("gates", gates, self.model.layers, "rows, one a layer")
        for layer, row in enumerate(gates):
            check_length(f"gates[{layer}]", row, self.model.kv_heads, "numbers, one a KV head")
        return tuple(
            tuple(
                check_number(f"gates[{layer}][{head}]", gate, least=0.0, most=1.0)
                for head, gate in enumerate(row)
            )
            for layer, row in enumerate(gates)
        )


def read_profile(path: Path | str) -> HeadProfile:
    """Read a profile from its file. Raises `BadProfile`, which names the file, the field and its value."""
    with within(f"{path}"):
        return _parsed(read_json(path))


def write_profile(profile: HeadProfile, path: Path | str) -> None:
    """Write a profile to its file: beside it first, then renamed, so that it is whole or as before."""
    path = Path(path)
    # Without the file's own name, which may be as long as a name can be.
    beside = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        beside.write_text(_written(profile), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise BadProfile(f"{path} cannot be written: {error.strerror}; choose another place") from error


def check_profile(profile: HeadProfile, model: Model | ModelIdentity, prompt: str | None = None) -> None:
    """Refuse, with `BadProfile`, a profile made for another model, shape or prompt.

    `prompt` is the version that signals will be read under; without it, or without signals, it is free.
    """
    found = ModelIdentity.of(model)
    for item in fields(found):
        theirs, ours = getattr(profile.model, item.name), getattr(found, item.name)
        if theirs != ours:
            raise BadProfile(
                f"the profile is of a model whose {item.name} is {theirs!r}, and this model's is {ours!r}: "
                "use a profile made for this model (ragnarok heads detect makes one)"
            )
    if prompt is not None and profile.signals and profile.prompt != prompt:
        raise BadProfile(
            f"the profile's signals hold for prompt {profile.prompt!r}, and this reads with {prompt!r}: "
            "make the profile again with this version of the program"
        )


def shipped_profile(model: Model | ModelIdentity) -> HeadProfile | None:
    """The profile that comes with the package for a model of this identity, if there is one."""
    wanted = ModelIdentity.of(model)
    shipped = (read_profile(path) for path in sorted(PROFILES.glob("*.json")))
    return next((profile for profile in shipped if profile.model == wanted), None)


def _parsed(document: object) -> HeadProfile:
    record = dict(check_record("the file", document))
    version = record.pop("version", None)
    if type(version) is not int or version != PROFILE_VERSION:
        raise BadProfile(
            f"version is {version!r}: this program reads version {PROFILE_VERSION}; "
            "use the program that the profile was made with, or make it again"
        )
    _check_names(HeadProfile, record)
    with within("model"):
        record["model"] = _made(ModelIdentity, record["model"])
    for name, kind in (("signals", Signal), ("joint", JointHead)):
        made = []
        for place, item in enumerate(check_list(name, record.get(name, []))):
            with within(f"{name}[{place}]"):
                made.append(_made(kind, item))
        record[name] = tuple(made)
    check_list("citing", record.get("citing", []))
    check_record("provenance", record.get("provenance", {}))
    if record.get("gates") is not None:
        record["gates"] = [
            check_list(f"gates[{n}]", row) for n, row in enumerate(check_list("gates", record["gates"]))
        ]
    return HeadProfile(**record)


def _written(profile: HeadProfile, *, provenance: bool = True) -> str:
    """The file's text: names sorted, one line a field, a signal, or a layer's gates."""
    document = asdict(profile) | {"version": PROFILE_VERSION}
    if not provenance:
        del document["provenance"]
    return "{\n" + ",\n".join(f'  "{name}": {_value(document[name])}' for name in sorted(document)) + "\n}\n"


def _value(value: object) -> str:
    if isinstance(value, list | tuple) and value:
        return "[\n" + ",\n".join(f"    {json.dumps(item, sort_keys=True)}" for item in value) + "\n  ]"
    return json.dumps(value, sort_keys=True, allow_nan=False)


def _made(kind: type[Kind], value: object) -> Kind:
    record = check_record("this", value)
    _check_names(kind, record)
    return kind(**record)


def _check_names(kind: type[Any], record: Mapping[str, object]) -> None:
    known = {item.name: item for item in fields(kind)}
    if unknown := sorted(record.keys() - known.keys()):
        allowed = ", ".join(sorted(known))
        value = shown(record[unknown[0]])
        raise BadProfile(f"{unknown[0]} (with {value}) is no field here: leave it out, or give {allowed}")
    needed = {n for n, item in known.items() if item.default is MISSING and item.default_factory is MISSING}
    if missing := sorted(needed - record.keys()):
        raise BadProfile(f"{missing[0]} is missing: give {', '.join(sorted(needed))}")


def _note(name: str, value: object) -> Note:
    if isinstance(value, str | bool):
        return value
    return (
        check_whole(name, value, least=-(2**63)) if isinstance(value, Integral) else check_number(name, value)
    )


def _put_head(record: Signal | JointHead) -> None:
    for name in ("layer", "head"):
        set_field(record, name, check_whole(name, getattr(record, name)))
