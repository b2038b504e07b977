"""`ragnarok bench quality`: what re-ranking is worth on judged runs."""

import random
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ragnarok.cli.bench.report import show, surroundings
from ragnarok.cli.console import Steps
from ragnarok.cli.options import FirstStage, Json, ModelName, ProfileFile
from ragnarok.judged import JudgedList, JudgedRun, JudgedSet
from ragnarok.seams import Reranker
from ragnarok.types import Hit, Mode, RankedHit

MEMORY = {"cpu": 1 << 30, "cuda": 8 << 30}
"""Bytes for documents' keys: a passage of several runs is read once."""


def quality(
    on: Annotated[
        list[str],
        typer.Argument(help="Judged runs: FOLDER:RUN[,depth=N][,unranked], in BEIR's layout."),
    ],
    model: ModelName = "smollm2-135m",
    profile: ProfileFile = None,
    mode: Annotated[
        Mode, typer.Option(help="late: passages read alone; read: the question reads all; joint: one prompt.")
    ] = "late",
    measure: Annotated[str, typer.Option(help="As ir_measures names it.")] = "nDCG@10",
    shuffle: Annotated[int, typer.Option(help="Seed of the order that passages are given in.")] = 1,
    int8: Annotated[bool, typer.Option("--int8", help="Keep keys in one byte a number.")] = False,
    first_stage: FirstStage = None,
    runs: Annotated[Path | None, typer.Option(file_okay=False, help="Folder for the re-ranked runs.")] = None,
    json: Json = False,
) -> None:
    """Re-rank judged runs, in their order and shuffled, and print what it is worth.

    Example: ragnarok bench quality dl19:bm25 scifact:bm25_local musique300:context,unranked -m smollm2-135m
    """
    chosen = [JudgedRun.parse(text) for text in on]
    steps = Steps()
    with steps.step("judged runs read"):
        sets = {folder: JudgedSet.open(folder) for folder in dict.fromkeys(run.folder for run in chosen)}
    with steps.step(f"model {escape(model)} ready"):
        reranker, digest = _reranker(model, profile, mode, int8=int8, first_stage=first_stage)
    rows: list[dict[str, object]] = []
    for run in chosen:
        lists = sets[run.folder].lists(run)
        with steps.stages(run.name) as progress:
            found: dict[str, dict[str, list[RankedHit]]] = {"given": {}, "shuffled": {}}
            seconds: list[float] = []
            for done, item in enumerate(lists):
                progress("topics", done, len(lists))
                start = time.perf_counter()
                found["given"][item.qid] = reranker.rerank(item.query, item.hits)
                seconds.append(time.perf_counter() - start)
                found["shuffled"][item.qid] = reranker.rerank(item.query, _shuffled(item, shuffle))
        before = {item.qid: list(item.hits) for item in lists}
        qrels = sets[run.folder].qrels
        values = [_measured(before, qrels, measure)]
        values += [_measured(ranked, qrels, measure) for ranked in found.values()]
        rows.append(
            {
                "set": run.name,
                "topics": len(lists),
                "measure": measure,
                "first stage": f"{values[0]:.4f}",
                "re-ranked": f"{values[1]:.4f}",
                "shuffled": f"{values[2]:.4f}",
                "s/topic": f"{statistics.median(seconds):.3f}",
            }
        )
        if runs is not None:
            from ragnarok.trec import write_run

            runs.mkdir(parents=True, exist_ok=True)
            for kind, result in found.items():
                write_run(runs / f"{run.name.replace(':', '.')}.{kind}.trec", dict(result), mode)
    show(rows, {"model": model, "mode": mode, "profile": digest, **surroundings()}, json=json)


def _reranker(
    model: str, profile: Path | None, mode: Mode, *, int8: bool, first_stage: float | None
) -> tuple[Reranker, str]:
    from ragnarok.assemble import PipelineSettings, build_reranker
    from ragnarok.rerankers import LateAttentionReranker
    from rerank.icr import IcrOptions
    from rerank.late.reranker import LateOptions
    from rerank.model import load_model
    from rerank.profile import read_profile

    loaded = load_model(model)
    settings = PipelineSettings(
        mode=mode,
        profile=None if profile is None else read_profile(profile),
        late=LateOptions(int8=int8, memory=MEMORY[loaded.device.type]),
        icr=IcrOptions(),
        first_stage=first_stage,
        evidence=0,
    )
    made = build_reranker(loaded, settings)
    return made, made.reader.profile.digest if isinstance(made, LateAttentionReranker) else "none"


def _shuffled(item: JudgedList, seed: int) -> list[Hit]:
    hits = list(item.hits)
    random.Random(f"{seed} {item.qid}").shuffle(hits)
    return hits


def _measured(
    ranked: Mapping[str, Sequence[Hit]], qrels: Mapping[str, Mapping[str, int]], measure: str
) -> float:
    from ragnarok.evaluate import evaluate
    from ragnarok.trec import RunEntry

    run = {
        qid: [RunEntry(hit.docid, place, hit.score, "") for place, hit in enumerate(hits, start=1)]
        for qid, hits in ranked.items()
    }
    return evaluate(run, {qid: dict(qrels[qid]) for qid in run}, [measure]).mean[measure]
