"""`ragnarok bench quality`: what re-ranking is worth on judged runs."""

import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ragnarok.cli.bench.report import show, surroundings
from ragnarok.cli.console import Stages, Steps
from ragnarok.cli.options import FirstStage, Json, ModelName, ProfileFile
from ragnarok.evaluate import evaluate
from ragnarok.judged import JudgedList, JudgedRun, JudgedSet
from ragnarok.pipeline import close_parts
from ragnarok.seams import Reranker
from ragnarok.trec import RunEntry, check_place, write_run
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
        Mode | None,
        typer.Option(help="late: passages read alone; read: the question reads all; joint: one prompt."),
    ] = None,
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
    # Refuses now what cannot be measured once everything is re-ranked.
    evaluate({"1": [RunEntry("1", 1, 1.0, "")]}, {"1": {"1": 1}}, [measure])
    if runs is not None:
        check_place(runs / "run")
    steps = Steps()
    with steps.step("judged runs read"):
        sets = {folder: JudgedSet.open(folder) for folder in dict.fromkeys(run.folder for run in chosen)}
        judgments = {folder: judged.judgments for folder, judged in sets.items()}
        lists = [sets[run.folder].lists(run) for run in chosen]
    rows: list[dict[str, object]] = []
    with _opened(model, profile, mode, steps, int8=int8, first_stage=first_stage) as (reranker, digest):
        for run, listed in zip(chosen, lists, strict=True):
            with steps.stages(run.name) as progress:
                found, seconds = _reranked(reranker, listed, shuffle, progress)
            ranked: list[Mapping[str, Sequence[Hit]]] = [{item.qid: item.hits for item in listed}]
            ranked += found.values()
            values = [_measured(one, judgments[run.folder], measure) for one in ranked]
            rows.append(
                {
                    "set": run.name,
                    "topics": len(listed),
                    "measure": measure,
                    "first stage": f"{values[0]:.4f}",
                    "re-ranked": f"{values[1]:.4f}",
                    "shuffled": f"{values[2]:.4f}",
                    "s/topic": f"{statistics.median(seconds):.3f}",
                }
            )
            if runs is not None:
                _write(found, runs, run.name, mode or "default")
    show(rows, {"model": model, "mode": mode or "default", "profile": digest, **surroundings()}, json=json)


@contextmanager
def _opened(
    model: str,
    profile: Path | None,
    mode: Mode | None,
    steps: Steps,
    *,
    int8: bool,
    first_stage: float | None,
) -> Iterator[tuple[Reranker, str]]:
    """The re-ranker, closed at the end, and the digest of the profile that it uses."""
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from ragnarok.assemble import PipelineSettings, build_reranker
    from ragnarok.rerankers import LateAttentionReranker
    from rerank.icr import IcrOptions
    from rerank.late.reranker import LateOptions
    from rerank.model import load_model
    from rerank.profile import read_profile

    with steps.step(f"model {escape(model)} ready"):
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
    try:
        yield made, made.reader.profile.digest if isinstance(made, LateAttentionReranker) else "none"
    finally:
        close_parts(made)


def _reranked(
    reranker: Reranker, lists: Sequence[JudgedList], seed: int, progress: Stages
) -> tuple[dict[str, dict[str, list[RankedHit]]], list[float]]:
    """Every list re-ranked as it was given and shuffled, and the seconds that each took as given."""
    found: dict[str, dict[str, list[RankedHit]]] = {"given": {}, "shuffled": {}}
    seconds: list[float] = []
    for done, item in enumerate(lists):
        progress("topics", done, len(lists))
        start = time.perf_counter()
        found["given"][item.qid] = reranker.rerank(item.query, item.hits)
        seconds.append(time.perf_counter() - start)
        found["shuffled"][item.qid] = reranker.rerank(item.query, _shuffled(item, seed))
    return found, seconds


def _write(found: Mapping[str, Mapping[str, list[RankedHit]]], runs: Path, name: str, tag: str) -> None:
    for kind, ranked in found.items():
        write_run(runs / f"{name.replace(':', '.')}.{kind}.trec", ranked, tag)


def _shuffled(item: JudgedList, seed: int) -> list[Hit]:
    hits = list(item.hits)
    random.Random(f"{seed} {item.qid}").shuffle(hits)
    return hits


def _measured(
    ranked: Mapping[str, Sequence[Hit]], qrels: Mapping[str, Mapping[str, int]], measure: str
) -> float:
    run = {
        qid: [RunEntry(hit.docid, place, hit.score, "") for place, hit in enumerate(hits, start=1)]
        for qid, hits in ranked.items()
    }
    return evaluate(run, {qid: dict(qrels[qid]) for qid in run}, [measure]).mean[measure]
