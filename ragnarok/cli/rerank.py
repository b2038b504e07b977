"""`ragnarok rerank`: a run file in, a better one out."""

import statistics
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from ragnarok.cli.console import Stages, Steps, err, out, print_json
from ragnarok.cli.grouped import grouped
from ragnarok.cli.groups import Ranking, Source
from ragnarok.cli.lists import hits_of, passages_of, questions_of
from ragnarok.cli.options import Instruction, Json, ModelName, PassageTokens, TopicsFile
from ragnarok.pipeline import close_parts
from ragnarok.seams import Reranker
from ragnarok.trec import check_place, check_tag, read_run, write_run
from ragnarok.types import Hit, RankedHit

if TYPE_CHECKING:
    from ragnarok.assemble import PipelineSettings


@dataclass(frozen=True, slots=True)
class Reading:
    """How joint mode reads a list, and in which order any mode is given it."""

    instruction: Instruction = "qa"
    order: Annotated[
        Literal["reversed", "given"], typer.Option(help="Reversed puts the best hit next to the question.")
    ] = "reversed"
    shuffle: Annotated[
        int | None, typer.Option(help="Shuffle each list first, with this seed: what is order bias worth?")
    ] = None
    passage_tokens: PassageTokens = 400

    def settings(self, ranking: Ranking) -> "PipelineSettings":
        """The settings of a pipeline that reads and re-ranks so, and marks no words."""
        # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
        from rerank.icr import IcrOptions

        icr = IcrOptions(instruction=self.instruction, order=self.order, passage_tokens=self.passage_tokens)
        return replace(ranking.settings(icr), evidence=0)


@grouped
def rerank(
    run: Annotated[Path, typer.Argument(help="TREC run file to re-rank (.gz too).")],
    topics: TopicsFile,
    output: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="Where the re-ranked run goes.")
    ],
    *,
    source: Source,
    tag: Annotated[str, typer.Option(help="The new run's tag.")] = "icr",
    depth: Annotated[int, typer.Option(min=1, help="Hits of each topic to re-rank.")] = 100,
    model: ModelName = "smollm2-135m",
    reading: Reading,
    ranking: Ranking,
    json: Json = False,
) -> None:
    """Re-rank a TREC run by a model's attention.

    Late mode reads each passage alone: its score depends on the question and the passage and nothing else.
    Joint mode with --first-stage 0 is the published method: all heads, N/A calibration, low tokens dropped,
    the best first-stage passage next to the question; --instruction, --order, --passage-tokens and --heads
    are for it. A list too long for the model's context is read in segments. That is said, and so is what
    was read only in part.

    Example: ragnarok rerank run.bm25.trec.gz -t queries.jsonl --corpus corpus.jsonl.gz -o run.icr.trec
    """
    check_tag(tag)
    check_place(output)
    source.check("re-ranking reads")
    settings = reading.settings(ranking)
    steps = Steps()
    entries = read_run(run)
    questions = questions_of(entries, run, topics)
    with steps.step("passages read"):
        passages = passages_of(entries, depth, source)
    lists = (
        (qid, hits_of(qid, listed[:depth], passages, reading.shuffle)) for qid, listed in entries.items()
    )
    with _opened(model, settings, steps) as reranker:
        with steps.stages("re-ranked") as progress:
            ranked, seconds = _reranked(reranker, questions, lists, progress)
        segmented = _segmented(reranker)
    write_run(output, ranked, tag)
    report = _report(ranked, seconds) | {"topics_segmented": segmented, "output": str(output)}
    if json:
        print_json(report)
    else:
        _print(report)


@contextmanager
def _opened(model: str, settings: "PipelineSettings", steps: Steps) -> Iterator[Reranker]:
    """The re-ranker that `settings` ask for, closed at the end."""
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from ragnarok.assemble import build_reranker
    from rerank.model import load_model

    with steps.step(f"model {escape(model)} ready"):
        reranker = build_reranker(load_model(model), settings)
    try:
        yield reranker
    finally:
        close_parts(reranker)


def _reranked(
    reranker: Reranker,
    questions: Mapping[str, str],
    lists: Iterable[tuple[str, list[Hit]]],
    progress: Stages,
) -> tuple[dict[str, list[RankedHit]], list[float]]:
    """Every topic's list re-ranked, and the seconds that each took."""
    ranked: dict[str, list[RankedHit]] = {}
    seconds: list[float] = []
    for done, (qid, hits) in enumerate(lists):
        progress("topics", done, len(questions))
        start = time.perf_counter()
        ranked[qid] = reranker.rerank(questions[qid], hits)
        seconds.append(time.perf_counter() - start)
    return ranked, seconds


def _segmented(reranker: Reranker) -> int:
    """How many lists were too long to be read at once."""
    from ragnarok.rerankers import AttentionReranker
    from rerank.icr import InContextReranker

    reader = reranker.reader if isinstance(reranker, AttentionReranker) else None
    return reader.segmented if isinstance(reader, InContextReranker) else 0


def _report(ranked: Mapping[str, list[RankedHit]], seconds: list[float]) -> dict[str, object]:
    return {
        "topics": len(ranked),
        "seconds_median": round(statistics.median(seconds), 4),
        "seconds_total": round(sum(seconds), 2),
        "passages": sum(map(len, ranked.values())),
        "passages_cut": sum(hit.cut for hits in ranked.values() for hit in hits),
    }


def _print(report: Mapping[str, object]) -> None:
    """The report for people: what was made, and what was not read whole."""
    out.print(
        f"{report['topics']} topics, median {report['seconds_median']} s, written to {report['output']}",
        soft_wrap=True,
        markup=False,
    )
    if report["passages_cut"]:
        err.print(
            f"{report['passages_cut']} of {report['passages']} passages were read only in part, "
            "to fit the model's context"
        )
    if report["topics_segmented"]:
        err.print(
            f"{report['topics_segmented']} of {report['topics']} lists were read in segments, "
            "to fit the model's context"
        )
