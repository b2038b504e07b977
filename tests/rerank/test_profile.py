"""The head profile's file: what is written is read, and what is wrong is named."""

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from rerank.errors import BadProfile
from rerank.model import Model
from rerank.profile import (
    PROFILES,
    HeadProfile,
    JointHead,
    ModelIdentity,
    Signal,
    check_profile,
    read_profile,
    shipped_profile,
    write_profile,
)
from tests.rerank.conftest import FAMILIES, make_model

MODEL = ModelIdentity("llama", layers=3, heads=4, kv_heads=2, head_dim=8, hidden=32, vocabulary=100)
PROFILE = HeadProfile(
    MODEL,
    "late-1",
    signals=(
        Signal(1, 3, "query", 0.5, -1.0, 2.0),
        Signal(0, 1, "suffix", -0.25),
        Signal(1, 2, "query", 1.0),
    ),
    joint=(JointHead(2, 0), JointHead(0, 3, 0.5)),
    gates=((1.0, 0.5), (0.5, 0.0), (0.5, 0.25)),
    citing=((2, 1), (0, 0)),
    lexical=0.3,
    together=0.4,
    passage_tokens=300,
    position=320,
    distance=48,
    repeats=2,
    provenance={"signals.model": "tiny – ünïcode", "signals.queries": 43, "signals.ridge": 0.5},
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
heads = st.tuples(st.integers(0, 2), st.integers(0, 3))
signals = st.builds(
    lambda head, *rest: Signal(*head, *rest),
    heads,
    st.sampled_from(["query", "suffix", "null", "null-suffix"]),
    numbers,
    numbers,
    numbers.filter(lambda x: x > 0),
)
profiles = st.builds(
    HeadProfile,
    st.just(MODEL),
    st.text(min_size=1),
    st.lists(signals, unique_by=lambda s: (s.layer, s.head, s.rows)).map(tuple),
    st.lists(
        st.builds(lambda head, weight: JointHead(head[0], head[1], weight), heads, numbers),
        unique_by=lambda j: (j.layer, j.head),
    ),
    st.none() | st.tuples(*[st.tuples(*[st.floats(0, 1)] * 2)] * 3),
    st.lists(heads, unique=True).map(tuple),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.floats(0, 1e6),
    st.integers(1, 10**6),
    st.integers(0, 10**6),
    st.none() | st.integers(0, 10**6),
    st.integers(1, 9),
    st.dictionaries(st.text(), st.text() | st.integers(-(2**53), 2**53) | numbers | st.booleans()),
)


@given(profile=profiles)
def test_what_is_written_is_read(profile: HeadProfile, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "profile.json"
    write_profile(profile, file)
    read = read_profile(file)
    assert read == profile
    assert read.digest == profile.digest
    write_profile(read, file.with_name("again.json"))
    assert file.with_name("again.json").read_bytes() == file.read_bytes()


def test_file_is_sorted_and_has_a_line_a_signal(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    write_profile(PROFILE, file)
    assert [path.name for path in tmp_path.iterdir()] == ["profile.json"]
    lines = file.read_text().splitlines()
    names = [line.split('"')[1] for line in lines if line.startswith('  "')]
    assert names == sorted(names)
    assert (
        '    {"head": 1, "layer": 0, "mean": 0.0, "rows": "suffix", "scale": 1.0, "weight": -0.25},' in lines
    )
    assert json.loads(file.read_text())["version"] == 2


def test_what_follows_from_the_signals() -> None:
    assert [(s.layer, s.head) for s in PROFILE.signals] == [(0, 1), (1, 2), (1, 3)]
    assert PROFILE.groups == ((0, 0), (1, 1))
    assert PROFILE.depth == 2
    assert (HeadProfile(MODEL).groups, HeadProfile(MODEL).depth) == ((), 0)
    assert HeadProfile(MODEL).distance is None


def test_digest_is_of_all_but_provenance() -> None:
    assert replace(PROFILE, provenance={}).digest == PROFILE.digest
    assert replace(PROFILE, signals=PROFILE.signals[::-1]).digest == PROFILE.digest
    others = [
        replace(PROFILE, model=replace(MODEL, vocabulary=101)),
        replace(PROFILE, prompt="late-2"),
        replace(PROFILE, signals=PROFILE.signals[1:]),
        replace(PROFILE, joint=()),
        replace(PROFILE, gates=None),
        replace(PROFILE, citing=()),
        replace(PROFILE, lexical=0.0),
        replace(PROFILE, together=0.0),
        replace(PROFILE, learned=7.0),
        replace(PROFILE, passage_tokens=301),
        replace(PROFILE, position=321),
        replace(PROFILE, distance=49),
        replace(PROFILE, repeats=1),
    ]
    assert len(others) == len(fields(HeadProfile)) - 1
    assert len({PROFILE.digest, *(other.digest for other in others)}) == len(others) + 1
    assert len(PROFILE.digest) == 16


@pytest.mark.parametrize(
    ("sparsity", "kept"),
    [
        # Gates 1, .5 | .5, 0 | .5, .25: of equal gates the first stay.
        (0.0, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]),
        (0.2, [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]),
        (0.5, [(0, 0), (0, 1), (1, 0)]),
        (0.8, [(0, 0), (0, 1)]),
        (0.99, [(0, 0)]),
        (1.0, []),
    ],
)
def test_retrieval_heads_by_hand(sparsity: float, kept: list[tuple[int, int]]) -> None:
    assert list(PROFILE.retrieval(sparsity)) == kept


@given(gates=st.lists(st.floats(0, 1), min_size=6, max_size=6, unique=True), sparsity=st.floats(0.001, 0.999))
def test_retrieval_heads_are_those_at_the_published_quantile(gates: list[float], sparsity: float) -> None:
    table = np.array(gates).reshape(3, 2)
    place = sparsity * 5
    # Within rounding of a whole place, which of two neighbours the quantile is depends on the last bit.
    if abs(place - round(place)) > 1e-6:
        threshold = sorted(gates)[math.ceil(place)]
        profile = HeadProfile(MODEL, gates=tuple(map(tuple, table.tolist())))
        assert profile.retrieval(sparsity) == tuple(map(tuple, np.argwhere(table >= threshold).tolist()))


def test_retrieval_needs_gates_and_a_share() -> None:
    with pytest.raises(BadProfile, match="no gates"):
        HeadProfile(MODEL).retrieval(0.5)
    with pytest.raises(BadProfile, match="sparsity is nan"):
        PROFILE.retrieval(math.nan)


def test_numbers_of_numpy_become_plain() -> None:
    values: list[Any] = [np.int64(1), np.int64(3), "query", np.float32(0.5)]
    signal = Signal(*values)
    assert (type(signal.layer), type(signal.weight)) == (int, float)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d.update(version=1), ["version is 1", "reads version 2"]),
        (lambda d: d.update(version=True), ["version is True"]),
        (lambda d: d.update(version=2.0), ["version is 2.0"]),
        (lambda d: d.pop("version"), ["version is None"]),
        (lambda d: d.update(colour="red"), ["colour", "'red'", "no field", "signals"]),
        (lambda d: d.pop("model"), ["model is missing"]),
        (lambda d: d.update(model=7), ["model", "is 7", "object"]),
        (lambda d: d["model"].pop("heads"), ["model", "heads is missing"]),
        (lambda d: d["model"].update(kv_heads=3), ["model: kv_heads is 3", "divide", "4"]),
        (lambda d: d["model"].update(type=""), ["model: type is ''"]),
        (lambda d: d["model"].update(layers=0), ["model: layers is 0", "at least 1"]),
        (lambda d: d["signals"][1].update(rows="all"), ["signals[1]: rows is 'all'", "query, suffix"]),
        (lambda d: d["signals"][1].update(rows=[]), ["signals[1]: rows is []"]),
        (lambda d: d["signals"][1].update(weight="1"), ["signals[1]: weight is '1'", "finite number"]),
        (lambda d: d["signals"][1].update(weight=math.nan), ["NaN", "finite"]),
        (lambda d: d["signals"][1].update(mean=-math.inf), ["-Infinity", "finite"]),
        (lambda d: d["signals"][1].update(mean=10**400), ["signals[1]: mean is 1000", "finite"]),
        (lambda d: d["signals"][1].update(scale=0), ["signals[1]: scale is 0", "above 0"]),
        (lambda d: d["signals"][1].update(layer=1.5), ["signals[1]: layer is 1.5", "whole number"]),
        (lambda d: d["signals"][1].update(layer=True), ["signals[1]: layer is True"]),
        (lambda d: d["signals"][1].update(head=-1), ["signals[1]: head is -1"]),
        (lambda d: d["signals"][1].update(head=4), ["signals has head 1-4", "from 0 to 3"]),
        (lambda d: d["signals"][1].update(layer=3), ["signals has head 3-2", "from 0 to 2"]),
        (lambda d: d["signals"].append(d["signals"][0]), ["signals has 0-1-suffix twice"]),
        (lambda d: d["signals"][1].update(note="x"), ["signals[1]: note", "no field"]),
        (lambda d: d.update(signals={}), ["signals is {}", "list"]),
        (lambda d: d.update(prompt=""), ["prompt is empty"]),
        (lambda d: d.update(prompt=1), ["prompt is 1"]),
        (lambda d: d["joint"].append(d["joint"][0]), ["joint has 0-3 twice"]),
        (lambda d: d["joint"][0].update(head=9), ["joint has head 0-9"]),
        (lambda d: d["gates"].pop(), ["gates has length 2", "3 rows"]),
        (lambda d: d["gates"][1].append(0.5), ["gates[1] has length 3", "2 numbers"]),
        (lambda d: d["gates"][1].__setitem__(0, 1.01), ["gates[1][0] is 1.01", "from 0 to 1"]),
        (lambda d: d["gates"].__setitem__(1, "ab"), ["gates[1] is 'ab'", "list"]),
        (lambda d: d.update(citing=[[1]]), ["citing[0] is [1]"]),
        (lambda d: d.update(citing=[[1, 2], [1, 2]]), ["citing has 1-2 twice"]),
        (lambda d: d.update(citing=None), ["citing is None", "list"]),
        (lambda d: d.update(lexical=-0.1), ["lexical is -0.1", "at least 0"]),
        (lambda d: d.update(passage_tokens=0), ["passage_tokens is 0"]),
        (lambda d: d.update(position="far"), ["position is 'far'"]),
        (lambda d: d.update(distance=-1), ["distance is -1"]),
        (lambda d: d.update(distance=1.5), ["distance is 1.5", "whole number"]),
        (lambda d: d.update(repeats=0), ["repeats is 0"]),
        (lambda d: d.update(provenance=[]), ["provenance is []"]),
        (lambda d: d["provenance"].update(by=["a"]), ["provenance.by is ['a']"]),
    ],
)
def test_what_is_wrong_is_named(change: Change, named: list[str], tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    write_profile(PROFILE, file)
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    with pytest.raises(BadProfile) as caught:
        read_profile(file)
    for part in (str(file), *named):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"", "no whole JSON"),
        (b"[1", "no whole JSON"),
        (b"\xff\xfe{}", "no whole JSON"),
        (b"[" * 100_000, "no whole JSON"),
        (b"[]", "the file is []"),
        (b'{"version": 1, "version": 1}', "version is given twice"),
    ],
)
def test_files_that_are_no_profile(text: bytes, named: str, tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    file.write_bytes(text)
    with pytest.raises(BadProfile) as caught:
        read_profile(file)
    assert str(file) in str(caught.value)
    assert named in str(caught.value)


def test_every_cut_of_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "profile.json"
    write_profile(PROFILE, file)
    whole = file.read_bytes().rstrip()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(BadProfile, match="no whole JSON"):
            read_profile(file)


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match="cannot be read: No such file"):
        read_profile(tmp_path / "nothing.json")
    with pytest.raises(BadProfile, match="cannot be written"):
        write_profile(PROFILE, tmp_path / "no" / "folder.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadProfile, match="cannot be written"):
        write_profile(PROFILE, tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_name_as_long_as_a_name_can_be_is_written(tmp_path: Path) -> None:
    file = tmp_path / f"{'p' * (os.pathconf(tmp_path, 'PC_NAME_MAX') - 5)}.json"
    write_profile(PROFILE, file)
    assert list(tmp_path.iterdir()) == [file]
    assert read_profile(file) == PROFILE


@pytest.mark.parametrize("family", FAMILIES)
def test_identity_agrees_with_the_shape(family: str, tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model(family, tokenizer)
    identity, shape = ModelIdentity.of(model), model.shape
    assert (identity.type, identity.hidden, identity.vocabulary) == (model.type, 48, 512)
    assert (identity.layers, identity.heads) == (shape.layers, shape.heads)
    assert (identity.kv_heads, identity.head_dim) == (shape.kv_heads, shape.head_dim)
    check_profile(HeadProfile(identity), model)


@pytest.mark.parametrize("name", [item.name for item in fields(ModelIdentity)])
def test_other_models_are_refused(name: str, small: Model) -> None:
    own = ModelIdentity.of(small)
    changed: dict[str, Any] = {name: "qwen2" if name == "type" else getattr(own, name) * 3}
    other = replace(own, **changed)
    with pytest.raises(BadProfile) as caught:
        check_profile(HeadProfile(other), small)
    for part in (name, repr(getattr(own, name)), repr(getattr(other, name))):
        assert part in str(caught.value)


def test_other_prompts_are_refused() -> None:
    check_profile(PROFILE, MODEL, "late-1")
    check_profile(PROFILE, MODEL)
    check_profile(replace(PROFILE, signals=(), prompt=""), MODEL, "late-2")
    with pytest.raises(BadProfile, match=r"'late-1'.*'late-2'"):
        check_profile(PROFILE, MODEL, "late-2")


def test_shipped_profile_is_found_by_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rerank.profile.PROFILES", tmp_path)
    assert shipped_profile(MODEL) is None
    write_profile(replace(PROFILE, model=replace(MODEL, hidden=64)), tmp_path / "a.json")
    write_profile(PROFILE, tmp_path / "b.json")
    write_profile(replace(PROFILE, lexical=0.0), tmp_path / "c.json")
    assert shipped_profile(MODEL) == PROFILE
    assert shipped_profile(replace(MODEL, hidden=1)) is None


def test_shipped_profiles_can_be_read() -> None:
    shipped = [read_profile(path) for path in PROFILES.glob("*.json")]
    assert len({profile.model for profile in shipped}) == len(shipped)
    for profile in shipped:
        assert any(name.endswith(".model") for name in profile.provenance)


def test_every_field_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "heads.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))
    assert rows >= {item.name for item in fields(HeadProfile)} | {"version"}
    for record in (ModelIdentity, Signal, JointHead):
        assert all(f"`{item.name}`" in page for item in fields(record))
