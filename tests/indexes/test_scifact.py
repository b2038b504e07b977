"""BM25 over a whole judged collection, against the figure published for it."""

import json
import os
from pathlib import Path

import ir_measures
import pytest

from indexes import build_index

DATA = Path(os.environ.get("RAGNAROK_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


@pytest.mark.data
@pytest.mark.skipif(
    not (DATA / "scifact").is_dir(), reason=f"no scifact in {DATA}; set RAGNAROK_DATA to its folder"
)
def test_bm25_reaches_its_figure(tmp_path: Path) -> None:
    lines = (DATA / "scifact" / "queries.jsonl").read_text().splitlines()
    queries = {record["_id"]: record["text"] for record in map(json.loads, lines)}
    judged = [line.split("\t") for line in (DATA / "scifact" / "qrels.tsv").read_text().splitlines()[1:]]
    qrels = [ir_measures.Qrel(query, docid, int(grade)) for query, docid, grade in judged]
    with build_index(DATA / "scifact", "scifact", root=tmp_path) as index:
        assert index.manifest.passages == 5183
        found = index.search(list(queries.values()), k=100)
    assert len(queries) == 300
    run = [
        ir_measures.ScoredDoc(query, hit.docid, hit.score)
        for query, hits in zip(queries, found, strict=True)
        for hit in hits
    ]
    measure = ir_measures.parse_measure("nDCG@10")
    assert ir_measures.calc_aggregate([measure], qrels, run)[measure] == pytest.approx(0.679, abs=0.005)
