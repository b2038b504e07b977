"""`ragnarok run`: a topic set in, TREC files out."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ragnarok.batch import PROGRESS, BatchOptions, run_batch
from ragnarok.cli.console import Steps, err, out, print_json
from ragnarok.cli.grouped import grouped
from ragnarok.cli.groups import Ranking, Writing
from ragnarok.cli.options import (
    IndexName,
    Json,
    MethodName,
    ModelName,
    PolicyName,
    Sparsity,
    TrackYear,
    track_year,
)
from ragnarok.pipeline import Pipeline
from ragnarok.trec import RULES, check_place, check_tag, read_topics

if TYPE_CHECKING:
    from ragnarok.assemble import PipelineSettings


@grouped
def run(
    topics: Annotated[Path, typer.Argument(help="Topics: TSV (id, text) or JSONL (.gz too).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the run, answers and progress.")],
    *,
    tag: Annotated[str, typer.Option(help="Run tag, at most 20 characters.")] = "ragnarok",
    year: TrackYear = 2025,
    index: IndexName = "demo",
    method: MethodName = None,
    model: ModelName = "smollm2-135m",
    depth: Annotated[int, typer.Option(min=1, max=1000, help="Hits a topic, re-ranked.")] = 100,
    answers: Annotated[bool, typer.Option(help="Write answers too, not only the run.")] = True,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 256,
    passages: Annotated[int, typer.Option(min=1, help="Passages to answer from.")] = 5,
    writing: Writing,
    ranking: Ranking,
    policy: PolicyName = "full",
    sparsity: Sparsity = 0.5,
    team: Annotated[str, typer.Option(help="Team id in the answers' metadata.")] = "ragnarok",
    description: Annotated[str, typer.Option(help="Run description (2026).")] = "",
    json: Json = False,
) -> None:
    """Run a topic set: retrieve, re-rank, answer, and write run and answer files in TREC's forms.

    Each topic is kept as soon as it is done: run the same command again after an interruption and it goes on
    where it stopped. Other settings need another folder.

    Example: ragnarok run topics.jsonl --index demo --output runs/first --tag first --year 2025
    """
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from ragnarok.assemble import build_pipeline
    from ragnarok.generators import LocalOptions

    steps = Steps()
    form = track_year(year)
    questions = read_topics(topics)
    check_place(output / PROGRESS)
    settings = replace(
        ranking.settings(),
        index=index,
        method=method,
        model=model,
        evidence=0,
        generator=writing.generator,
        generate=LocalOptions(passages=passages, max_tokens=max_tokens),
        openai=writing.endpoint(),
        policy=policy,
        sparsity=sparsity,
        depth=depth,
    )
    options = BatchOptions(check_tag(tag), form, depth, answers, team, description)
    with steps.step("index and model ready"):
        pipeline = build_pipeline(settings)
    limit = RULES[form].depth
    if limit is not None and depth > limit:
        err.print(f"TREC RAG {year} takes runs of {limit} hits a topic; this one may have up to {depth}")
    with pipeline, steps.stages(f"{len(questions)} topics done") as progress:
        written = run_batch(pipeline, questions, output, options, _kept(settings, pipeline), progress)
    if json:
        print_json({"topics": len(questions), "files": [str(path) for path in written]})
    else:
        for path in written:
            out.print(str(path), soft_wrap=True, markup=False)


def _kept(settings: "PipelineSettings", pipeline: Pipeline) -> dict[str, object]:
    """What of the settings changes a result: not where passages' keys are kept."""
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from ragnarok.assemble import IndexRetriever
    from ragnarok.rerankers import LateAttentionReranker

    made = pipeline.reranker
    # The profile's digest, not its path or None: what comes with the model may change.
    used = made.reader.profile if isinstance(made, LateAttentionReranker) else settings.profile
    kept = {name: value for name, value in asdict(settings).items() if name not in {"store", "openai"}}
    if endpoint := settings.openai:
        kept["openai"] = {"base_url": endpoint.base_url, "model": endpoint.model}
    if isinstance(pipeline.retriever, IndexRetriever):
        # Its name may stand for another one by now.
        kept["index created"] = pipeline.retriever.created
    return kept | {"profile": None if used is None else used.digest, "late": {"int8": settings.late.int8}}
