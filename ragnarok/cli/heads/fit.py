"""`ragnarok heads fit`: weights for late attention, from judged lists or from passages alone."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ragnarok.cli.console import Steps, out
from ragnarok.cli.grouped import grouped
from ragnarok.cli.heads.shared import Into, Output, keep, load_like, read_into
from ragnarok.cli.options import Json, ModelName, PassageTokens
from ragnarok.judged import JudgedList, JudgedRun, JudgedSet, best_grades
from rerank.profile import HeadProfile, Note

if TYPE_CHECKING:
    from rerank.fit import FitOptions, FitReport
    from rerank.model import Model
    from rerank.ridge import RankedList


@dataclass(frozen=True, slots=True)
class Lists:
    """What weights are fitted on."""

    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on",
            help="Judged run to fit on: FOLDER:RUN[,depth=N][,weight=W][,judged][,learned]. May be repeated.",
        ),
    ] = None
    pseudo: Annotated[
        list[str] | None,
        typer.Option(
            "--pseudo", help="Index to fit on without judgments: queries are drawn from its passages."
        ),
    ] = None
    pairs: Annotated[int, typer.Option(min=20, help="Queries drawn from each --pseudo index.")] = 400

    def judged(self) -> list[JudgedRun]:
        """The judged runs. Raises `BadParameter` where there is nothing to fit on, and `BadSetting`."""
        if not self.on and not self.pseudo:
            raise typer.BadParameter("give --on or --pseudo: there is nothing to fit on")
        return [JudgedRun.parse(text) for text in self.on or []]

    @property
    def names(self) -> str:
        """What was fitted on, as provenance tells it."""
        return " ".join([*(self.on or []), *(f"{index} (label-free)" for index in self.pseudo or [])])


@dataclass(frozen=True, slots=True)
class Size:
    """How much late attention may read and keep."""

    groups: Annotated[int, typer.Option(min=1, help="KV groups to keep: a token costs each one's keys.")] = 8
    depth: Annotated[
        int | None, typer.Option(min=1, help="Use only the first layers. Default: three fifths of them.")
    ] = None
    passage_tokens: PassageTokens = 400
    position: Annotated[
        int, typer.Option(min=0, help="Tokens behind the prefix at which every question stands.")
    ] = 512
    distance: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Tokens behind each word of a passage where a question is matched. Default: as read.",
        ),
    ] = None
    repeats: Annotated[int, typer.Option(min=1, help="How often a question is written, in a row.")] = 1
    together: Annotated[
        float,
        typer.Option(
            min=0, help="What one joint reading of a short list weighs where nothing has ranked it."
        ),
    ] = 0.0

    def options(self, model: "Model") -> "FitOptions":
        """The same for a fit of `model`."""
        from rerank.fit import FitOptions

        return FitOptions(
            groups=self.groups,
            depth=self.depth or -(-model.shape.layers * 3 // 5),
            passage_tokens=self.passage_tokens,
            position=self.position,
            distance=self.distance,
            repeats=self.repeats,
            together=self.together,
        )


@grouped
def fit(
    output: Output,
    *,
    lists: Lists,
    model: ModelName = "smollm2-135m",
    size: Size,
    seed: Annotated[int, typer.Option(help="What shuffled the lists: nothing depends on their order.")] = 13,
    into: Into = None,
    json: Json = False,
) -> None:
    """Fit the scoring heads' weights of late attention by ridge regression.

    Few KV groups in the first layers are kept, strength and rank weights are cross-validated over queries.

    Example: ragnarok heads fit --on dl20:bm25,weight=3 --on dl20:tasb,learned -m smollm2-135m -o heads.json
    """
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from ragnarok.pseudo import pseudo_lists
    from rerank.fit import fit_signals

    chosen = lists.judged()
    steps = Steps()
    base = read_into(into)
    with steps.step("lists read"):
        read = list(_judged_lists(chosen, seed))
        for index in lists.pseudo or []:
            read += pseudo_lists(index, lists.pairs, seed)
    with steps.step(f"model {escape(model)} ready"):
        loaded = load_like(model, base)
    with steps.stages("weights fitted") as progress:
        profile, report = fit_signals(loaded, read, size.options(loaded), progress)
    if not json:
        out.print(f"groups: {' '.join(f'{count} {value:.4f}' for count, value in report.path)}", markup=False)
    new = replace(profile, provenance=_notes(model, lists.names, report))
    told = _told(profile, report) | ({"report": asdict(report)} if json else {})
    keep(new, base, output, told, json=json)


def _judged_lists(chosen: Sequence[JudgedRun], seed: int) -> "Iterator[RankedList]":
    """The lists of the judged runs; each folder is read once."""
    sets = {folder: JudgedSet.open(folder) for folder in dict.fromkeys(run.folder for run in chosen)}
    for run in chosen:
        for item in sets[run.folder].lists(run):
            yield _shuffled(item, run, seed)


def _shuffled(item: JudgedList, run: JudgedRun, seed: int) -> "RankedList":
    """A list to fit on, in an order of its own, with grades from 0 to 1."""
    from rerank.ridge import RankedList

    order = list(range(len(item.hits)))
    random.Random(f"{seed} {item.qid}").shuffle(order)
    highest = max([*item.judgments.values(), 1])
    return RankedList(
        item.query,
        [item.hits[place].passage.contents for place in order],
        [item.grades[place] / highest for place in order],
        [item.hits[place].rank for place in order],
        [item.hits[place].score for place in order],
        [grade / highest for grade in best_grades(list(item.judgments.values()))],
        run.name,
        weight=0.0 if run.learned else run.weight,
        learned=run.learned,
    )


def _notes(model: str, names: str, report: "FitReport") -> dict[str, Note]:
    return {
        "signals.source": "ragnarok heads fit",
        "signals.model": model,
        "signals.on": names,
        "signals.alpha": report.alpha,
        "signals.lists": report.lists,
        "signals.passages": report.passages,
    }


def _told(profile: HeadProfile, report: "FitReport") -> dict[str, object]:
    return {
        "first stage": report.first_stage,
        "all groups": report.all_groups,
        "kept": report.kept,
        "transfer between halves": str(report.transfer),
        "kv groups": str(profile.groups),
        "rank weights": f"{profile.lexical:g} lexical, {profile.learned:g} learned",
    }
