"""Published head tables: small ones as their authors write them, and every table that was published."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from rerank.errors import BadProfile
from rerank.importers import import_core, import_duo, import_qrhead, merge, strongest
from rerank.profile import HeadProfile, JointHead, ModelIdentity, Signal

DATA = Path(os.environ.get("RAGNAROK_DATA") or Path(__file__).parents[2].parent / "shared" / "data")
TABLES = DATA / "head-profiles"
MODEL = ModelIdentity("llama", layers=2, heads=4, kv_heads=2, head_dim=8, hidden=32, vocabulary=100)
SCORES = {"0-0": 0.1, "0-1": 0.9, "0-2": 0.0, "0-3": 0.5, "1-0": 0.5, "1-1": 1e-5, "1-2": 0.2, "1-3": 0.3}
CONFIG = {"model_name": "models/Tiny", "sink_size": 128, "recent_size": 256, "lr": 0.02, "config_name": None}
QRHEAD = (
    '# Default configuration\n\nattn_head_set: "1-3,0-2" # top2\nmodel_base_class: "Tiny"\n'
    'model_name_or_path: "tiny/Tiny"'
)


def duo(folder: Path, table: str = "9.5e-01\t-4.5e-04\n0.0\t1.5\n", config: str = json.dumps(CONFIG)) -> Path:
    (folder / "full_attention_heads.tsv").write_text(table)
    (folder / "config.json").write_text(config)
    return folder


def write(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def test_duo(tmp_path: Path) -> None:
    profile = import_duo(duo(tmp_path), MODEL)
    assert profile.gates == ((0.95, 0.0), (0.0, 1.0))
    assert profile.provenance == {
        "gates.source": "DuoAttention",
        "gates.model": "models/Tiny",
        "gates.sink": 128,
        "gates.recent": 256,
    }
    assert profile.retrieval(0.5) == ((0, 0), (1, 1))


def test_qrhead(tmp_path: Path) -> None:
    profile = import_qrhead(write(tmp_path / "heads.yaml", QRHEAD), MODEL)
    assert profile.joint == (JointHead(0, 2), JointHead(1, 3))
    assert profile.signals == ()
    assert profile.provenance == {"joint.source": "QRHead", "joint.model": "tiny/Tiny"}


def test_core_keeps_the_first_of_equal_scores(tmp_path: Path) -> None:
    file = write(tmp_path / "core_temp0.1.json", json.dumps(SCORES))
    assert import_core(file, MODEL, top=2).joint == (JointHead(0, 1), JointHead(0, 3))
    assert import_core(file, MODEL, top=3).joint == (JointHead(0, 1), JointHead(0, 3), JointHead(1, 0))
    assert import_core(file, MODEL, top=3).provenance["joint.table"] == "core_temp0.1.json"
    assert len(import_core(file, MODEL).joint) == 8


def test_strongest_come_first() -> None:
    assert strongest({(0, 0): 0.1, (1, 1): 0.3, (0, 1): 0.3}, 2) == [(0, 1), (1, 1)]


@pytest.mark.parametrize("top", [0, 9])
def test_as_many_heads_as_there_are(top: int, tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match=f"top is {top}.*8 heads"):
        import_core(write(tmp_path / "core.json", json.dumps(SCORES)), MODEL, top)


@pytest.mark.parametrize(
    ("table", "config", "named"),
    [
        ("1\tx\n0\t1\n", "{}", ["line 1", "'x'", "tabs"]),
        ("1\t0\n1\t\n", "{}", ["line 2", "numbers"]),
        ("1\t0\n1\tnan\n", "{}", ["line 2", "nan", "finite"]),
        ("1\t0\n1\tinf\n", "{}", ["line 2", "inf", "finite"]),
        ("", "{}", ["gates has length 0", "2 rows"]),
        ("1\t0\n", "{}", ["gates has length 1", "2 rows"]),
        ("1\t0\n1\n", "{}", ["gates[1] has length 1", "2 numbers"]),
        ("1\t0\t1\t1\n" * 2, "{}", ["gates[0] has length 4", "2 numbers"]),
        ("1\t0\n1\t0\n", '{"sink_size": ', ["config.json", "no whole JSON"]),
        ("1\t0\n1\t0\n", "[]", ["config.json", "no object"]),
        ("1\t0\n1\t0\n", '{"sink_size": [1]}', ["provenance.gates.sink is [1]"]),
    ],
)
def test_duo_tables_that_cannot_be(table: str, config: str, named: list[str], tmp_path: Path) -> None:
    with pytest.raises(BadProfile) as caught:
        import_duo(duo(tmp_path, table, config), MODEL)
    for part in (str(tmp_path), *named):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("model_base_class: x", "attn_head_set is missing"),
        ("- 1-2", "attn_head_set is missing"),
        ("attn_head_set: [1-2]", "attn_head_set is missing"),
        ("attn_head_set: '", "no YAML"),
        ("attn_head_set: ''", "'' is no head"),
        ("attn_head_set: '1-2,three-4'", "'three-4' is no head"),
        ("attn_head_set: '1-2,1-2'", "1-2 twice"),
        ("attn_head_set: '1-2,2-0'", "head 2-0: layers go from 0 to 1"),
        ("attn_head_set: '1-4'", "heads from 0 to 3"),
    ],
)
def test_qrhead_lists_that_cannot_be(text: str, named: str, tmp_path: Path) -> None:
    file = write(tmp_path / "heads.yaml", text)
    with pytest.raises(BadProfile) as caught:
        import_qrhead(file, MODEL)
    assert str(file) in str(caught.value)
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (json.dumps(SCORES)[:-1], "no whole JSON"),
        ("[]", "no table of heads"),
        ('{"0-0": 1, "0-0": 2}', "0-0 is given twice"),
        (json.dumps(SCORES | {"0-0": "much"}), "head 0-0 is 'much'"),
        (json.dumps(SCORES | {"0-0": float("nan")}), "NaN"),
        (json.dumps(SCORES | {"00-0": 1}), "'00-0' is no head"),
        (json.dumps(SCORES | {"0-0": True}), "head 0-0 is True"),
        (json.dumps(SCORES | {"0-0": 10**400}), "head 0-0 is 1000"),
        (json.dumps(SCORES | {"a": 1}), "'a' is no head"),
        (json.dumps(SCORES | {"2-0": 1}), "head 2-0 is in one of them only"),
        (json.dumps(dict(list(SCORES.items())[:-1])), "has 7 heads"),
    ],
)
def test_core_tables_that_cannot_be(text: str, named: str, tmp_path: Path) -> None:
    file = write(tmp_path / "core.json", text)
    with pytest.raises(BadProfile) as caught:
        import_core(file, MODEL)
    assert str(file) in str(caught.value)
    assert named in str(caught.value)


def test_files_that_are_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(BadProfile, match="cannot be read"):
        import_duo(tmp_path, MODEL)
    (tmp_path / "heads.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(BadProfile, match="no text"):
        import_qrhead(tmp_path / "heads.yaml", MODEL)


def test_merging_keeps_the_other_parts(tmp_path: Path) -> None:
    own = HeadProfile(
        MODEL,
        "late-1",
        signals=(Signal(0, 1, "query", 1.0),),
        lexical=0.3,
        position=9,
        distance=5,
        citing=((1, 1),),
        gates=((0.0, 0.0), (0.0, 0.0)),
        provenance={"signals.model": "own", "gates.source": "own", "gates.old": 1},
    )
    gates = import_duo(duo(tmp_path), MODEL)
    merged = merge(gates, own)
    assert merged == replace(own, gates=gates.gates, provenance={"signals.model": "own", **gates.provenance})
    assert merge(own, gates) == own
    heads = import_qrhead(write(tmp_path / "heads.yaml", QRHEAD), MODEL)
    assert merge(heads, merged).joint == heads.joint
    assert merge(heads, merged).signals == own.signals
    with pytest.raises(BadProfile, match="layers is 2, and this model's is 5"):
        merge(replace(heads, model=replace(MODEL, layers=5)), own)


def shape(name: str) -> ModelIdentity:
    """The shape of a published table's model, from its name (config.json of each on the hub)."""
    shapes = {
        "Llama-2-7B": ("llama", 32, 32, 32, 128, 4096, 32000),
        "Llama-3-8B": ("llama", 32, 32, 8, 128, 4096, 128256),
        "Llama-3.1-8B": ("llama", 32, 32, 8, 128, 4096, 128256),
        "Llama-3.1-70B": ("llama", 80, 64, 8, 128, 8192, 128256),
        "Llama-3.2-1B": ("llama", 16, 32, 8, 64, 2048, 128256),
        "Llama-3.2-3B": ("llama", 28, 24, 8, 128, 3072, 128256),
        "Mistral-7B": ("mistral", 32, 32, 8, 128, 4096, 32768),
        "Qwen2.5-7B": ("qwen2", 28, 28, 4, 128, 3584, 152064),
        "granite": ("granite", 40, 32, 8, 128, 4096, 49155),
        "llama": ("llama", 32, 32, 8, 128, 4096, 128256),
        "mistral": ("mistral", 32, 32, 8, 128, 4096, 32000),
        "phi": ("phi3", 40, 40, 10, 128, 5120, 100352),
    }
    (found,) = [key for key in shapes if name.removeprefix("Meta-").startswith(key)]
    return ModelIdentity(*shapes[found])


@pytest.mark.data
@pytest.mark.skipif(
    not TABLES.is_dir(), reason=f"no head-profiles in {DATA}; set RAGNAROK_DATA to its folder"
)
def test_every_published_table_is_imported() -> None:
    folders = sorted((TABLES / "duo-attention").iterdir())
    lists, tables = sorted((TABLES / "qrhead").glob("*.yaml")), sorted((TABLES / "core").glob("*.json"))
    assert (len(folders), len(lists), len(tables)) == (6, 8, 4)
    for folder in folders:
        model = shape(folder.name)
        profile = import_duo(folder, model)
        assert len(profile.retrieval(0.5)) == model.layers * model.kv_heads // 2
        assert (profile.provenance["gates.sink"], profile.provenance["gates.recent"]) == (128, 256)
        with pytest.raises(BadProfile, match="gates"):
            import_duo(folder, replace(model, layers=40))
    for file in lists:
        assert len(import_qrhead(file, shape(file.name)).joint) == (32 if "70B" in file.name else 16)
    # Llama's eight end in layer 14 of 32, as published: half the model need not run.
    assert {file.name: len(import_core(file, shape(file.name)).joint) for file in tables} == {
        file.name: 8 for file in tables
    }
    (llama,) = [file for file in tables if file.name.startswith("llama")]
    assert max(head.layer for head in import_core(llama, shape("llama")).joint) == 14
    with pytest.raises(BadProfile, match="1024 heads and the model 40 layers of 32"):
        import_core(llama, shape("granite"))
