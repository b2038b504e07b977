"""`ragnarok ask`: one question, an attributed answer."""

from dataclasses import replace
from typing import Annotated

import typer

from ragnarok.cli.console import Steps, err, out, print_json
from ragnarok.cli.grouped import grouped
from ragnarok.cli.groups import Ranking, Writing
from ragnarok.cli.options import IndexName, Json, MethodName, ModelName, PolicyName, Sparsity
from ragnarok.cli.render import answer_text, evidence, result_json
from ragnarok.pipeline import Result
from ragnarok.query import clean_query


@grouped
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    *,
    index: IndexName = "demo",
    method: MethodName = None,
    model: ModelName = "smollm2-135m",
    depth: Annotated[int, typer.Option("--depth", min=1, max=1000, help="Passages to re-rank.")] = 20,
    passages: Annotated[int, typer.Option("--passages", min=1, help="Passages to answer from.")] = 5,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer.")] = 256,
    writing: Writing,
    ranking: Ranking,
    policy: PolicyName = "full",
    sparsity: Sparsity = 0.5,
    rerank: Annotated[bool, typer.Option(help="Re-rank by attention before answering.")] = True,
    json: Json = False,
) -> None:
    """Answer a question, with every sentence attributed to passages of the index.

    Shows the answer, then each cited passage: its rank before and after re-ranking, and the words that drew
    the model's attention.

    Example: ragnarok ask "What does functools.lru_cache do when it is full?" --index demo
    """
    question = clean_query(question)
    ranked = ranking.settings()
    # Here, not at the top: torch takes seconds to import, and neither `--help` nor a refusal needs it.
    from ragnarok.assemble import build_pipeline
    from ragnarok.generators import LocalOptions

    steps = Steps()
    settings = replace(
        ranked,
        index=index,
        method=method,
        model=model,
        rerank=rerank,
        generator=writing.generator,
        generate=LocalOptions(passages=passages, max_tokens=max_tokens),
        openai=writing.endpoint(),
        policy=policy,
        sparsity=sparsity,
        depth=depth,
    )
    with steps.step("index and model ready"):
        pipeline = build_pipeline(settings)
    with pipeline, steps.step("answered"):
        result = pipeline.ask(question)
    if json:
        print_json(result_json(result))
        return
    show(result)
    err.print(f"[dim]{stage_times(result)}[/]")


def show(result: Result) -> None:
    """Print an answer and its evidence."""
    out.print(answer_text(result.answer))
    out.print(evidence(out, result.answer, result.hits))


def stage_times(result: Result) -> str:
    """The seconds of each stage on one line."""
    return ", ".join(f"{stage} {seconds:.2f} s" for stage, seconds in result.timings.items())
