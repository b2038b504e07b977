"""Head tables that others have published, read into head profiles.

- DuoAttention (Xiao et al., ICLR 2025): a folder of `full_attention_heads.tsv`, a gate for each layer and KV
  head, and `config.json` with the sizes of sink and window it was trained with.
- QRHead (Zhang et al., EMNLP 2025): YAML that lists the heads kept.
- CoRe (Tran et al., arXiv 2510.02219): JSON with every head's score.

None of them says in full what model it fits, so the caller names one, and a table of another shape is
refused with `BadProfile`. This module needs no torch.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from rerank.errors import BadProfile
from rerank.fields import check_number, read_json, within
from rerank.profile import HeadProfile, JointHead, ModelIdentity, check_profile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rerank.icr import Head
    from rerank.model import Model
    from rerank.profile import Note

CORE_HEADS = 8
"""How many heads the CoRe paper keeps."""

_HEAD = re.compile(r"(0|[1-9][0-9]{0,5})-(0|[1-9][0-9]{0,5})")


def import_duo(folder: Path | str, model: Model | ModelIdentity) -> HeadProfile:
    """The gates of a DuoAttention pattern folder, clipped to 0..1."""
    table, config = Path(folder) / "full_attention_heads.tsv", Path(folder) / "config.json"
    with within(f"{table}"):
        gates = [_gates(n, line) for n, line in enumerate(_read(table).splitlines(), start=1)]
    with within(f"{config}"):
        settings = read_json(config)
        if not isinstance(settings, dict):
            raise BadProfile("it is no object: give the config.json that lies beside the table")
    names = {"gates.model": "model_name", "gates.sink": "sink_size", "gates.recent": "recent_size"}
    notes = {ours: settings[theirs] for ours, theirs in names.items() if settings.get(theirs) is not None}
    with within(f"{folder}"):
        return HeadProfile(
            ModelIdentity.of(model), gates=tuple(gates), provenance={"gates.source": "DuoAttention", **notes}
        )


def import_qrhead(path: Path | str, model: Model | ModelIdentity) -> HeadProfile:
    """The heads of a QRHead configuration, all of one weight."""
    with within(f"{path}"):
        try:
            settings = yaml.safe_load(_read(path))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise BadProfile(f"it is no YAML ({' '.join(str(error).split())}); fetch it again") from error
        if not isinstance(settings, dict) or not isinstance(settings.get("attn_head_set"), str):
            raise BadProfile(
                "attn_head_set is missing or no text: a line such as attn_head_set: '13-18,14-22'"
            )
        heads = [_head(name.strip()) for name in settings["attn_head_set"].split(",")]
        notes = {"joint.source": "QRHead", "joint.model": f"{settings.get('model_name_or_path', 'unnamed')}"}
        return _joint(model, heads, notes)


def import_core(path: Path | str, model: Model | ModelIdentity, top: int = CORE_HEADS) -> HeadProfile:
    """The `top` heads of a CoRe score table, all of one weight; of equal scores the first head is kept."""
    with within(f"{path}"):
        table = read_json(path)
        if not isinstance(table, dict):
            raise BadProfile('it is no table of heads: an object such as {"0-0": 0.25} is needed')
        scores = {_head(n): check_number(f"the score of head {n}", score) for n, score in table.items()}
        identity = ModelIdentity.of(model)
        every = {(layer, head) for layer in range(identity.layers) for head in range(identity.heads)}
        if wrong := sorted(every ^ scores.keys()):
            raise BadProfile(
                f"it has {len(scores)} heads and the model {identity.layers} layers of {identity.heads}: "
                f"head {wrong[0][0]}-{wrong[0][1]} is in one of them only; give the table of this model"
            )
        notes = {"joint.source": "CoRe", "joint.table": Path(path).name}
        return _joint(model, strongest(scores, top), notes)


def strongest(scores: Mapping[Head, float], top: int) -> list[Head]:
    """The `top` heads of the highest scores, best first; of equal scores the first head first.

    Raises `BadProfile` where there are not as many.
    """
    if not 1 <= top <= len(scores):
        raise BadProfile(f"top is {top}: it must be from 1 to the {len(scores)} heads there are")
    return sorted(scores, key=lambda head: (-scores[head], head))[:top]


def merge(new: HeadProfile, into: HeadProfile) -> HeadProfile:
    """`into`, with the parts that `new` has in place of its own: signals, joint heads, gates, citing heads.

    What belongs to the signals (prompt, first stage, lengths) comes with them, and so does each part's
    provenance, whose names begin with the part's. Raises `BadProfile` for profiles of two models.
    """
    check_profile(into, new.model)
    parts = {"signals": new.signals, "joint": new.joint, "gates": new.gates, "citing": new.citing}
    taken: dict[str, Any] = {name: value for name, value in parts.items() if value}
    if "signals" in taken:
        first_stage = ("lexical", "learned", "together")
        reading = ("prompt", *first_stage, "passage_tokens", "position", "distance", "repeats")
        taken |= {name: getattr(new, name) for name in reading}
    kept = {name: note for name, note in into.provenance.items() if name.split(".")[0] not in taken}
    return replace(into, **taken, provenance=kept | dict(new.provenance))


def _joint(model: Model | ModelIdentity, heads: Sequence[Head], notes: Mapping[str, Note]) -> HeadProfile:
    joint = tuple(JointHead(layer, head) for layer, head in heads)
    return HeadProfile(ModelIdentity.of(model), joint=joint, provenance=notes)


def _gates(number: int, line: str) -> tuple[float, ...]:
    try:
        values = [float(cell) for cell in line.split("\t")]
    except ValueError as error:
        raise BadProfile(f"line {number}: {error}; give numbers with tabs between") from error
    return tuple(min(max(check_number(f"line {number}", value), 0.0), 1.0) for value in values)


def _head(name: str) -> Head:
    pair = _HEAD.fullmatch(name)
    if pair is None:
        raise BadProfile(f"{name!r} is no head: a layer and a head are needed, such as 13-18")
    return int(pair[1]), int(pair[2])


def _read(path: Path | str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise BadProfile(f"it cannot be read: {error.strerror}; give the published file") from error
    except ValueError as error:
        raise BadProfile(f"it is no text ({error}); give the published file") from error
