"""`ragnarok ask`: one question, an attributed answer."""

from typing import Annotated

import typer

from ragnarok.cli.console import Steps, err, out, print_json
from ragnarok.cli.options import (
    MEMORY_BYTES,
    STORE_BYTES,
    FirstStage,
    Generator,
    Heads,
    HostMemoryBytes,
    IndexName,
    Int8,
    Json,
    MemoryBytes,
    MethodName,
    ModelName,
    ModeName,
    OpenAIModel,
    OpenAITimeout,
    OpenAIUrl,
    PolicyName,
    ProfileFile,
    Redis,
    Sparsity,
    Store,
    StoreBytes,
    read_heads,
    read_openai,
)
from ragnarok.cli.render import answer_text, evidence, result_json
from ragnarok.pipeline import Result
from ragnarok.query import clean_query


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    index: IndexName = "demo",
    method: MethodName = None,
    model: ModelName = "smollm2-135m",
    depth: Annotated[int, typer.Option("--depth", min=1, max=1000, help="Passages to re-rank.")] = 20,
    passages: Annotated[int, typer.Option("--passages", min=1, help="Passages to answer from.")] = 5,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer.")] = 256,
    generator: Generator = None,
    openai_base_url: OpenAIUrl = "",
    openai_model: OpenAIModel = "",
    openai_timeout: OpenAITimeout = 60.0,
    mode: ModeName = None,
    profile: ProfileFile = None,
    first_stage: FirstStage = None,
    heads: Heads = None,
    store: Store = None,
    store_bytes: StoreBytes = STORE_BYTES,
    redis: Redis = None,
    int8: Int8 = False,
    memory_bytes: MemoryBytes = MEMORY_BYTES,
    host_memory_bytes: HostMemoryBytes = 0,
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
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from ragnarok.assemble import PipelineSettings, build_pipeline
    from ragnarok.documents import StoreOptions
    from ragnarok.generators import LocalOptions
    from rerank.icr import IcrOptions
    from rerank.late.reranker import LateOptions
    from rerank.profile import read_profile

    question = clean_query(question)
    steps = Steps()
    settings = PipelineSettings(
        index=index,
        method=method,
        model=model,
        rerank=rerank,
        mode="joint" if heads is not None and mode is None else mode,
        profile=None if profile is None else read_profile(profile),
        late=LateOptions(int8=int8, memory=memory_bytes, host_memory=host_memory_bytes),
        store=StoreOptions(store, store_bytes, redis),
        first_stage=first_stage,
        icr=IcrOptions(passage_tokens=160, heads=read_heads(heads)),
        generator=generator,
        generate=LocalOptions(passages=passages, max_tokens=max_tokens),
        openai=read_openai(generator, openai_base_url, openai_model, openai_timeout),
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
