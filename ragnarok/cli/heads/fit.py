"""`ragnarok heads fit`: weights for late attention, from judged lists or from passages alone."""

from typing import Annotated

import typer
from rich.markup import escape

from ragnarok.cli.console import Steps, out
from ragnarok.cli.heads.shared import Into, Output, keep, read_into
from ragnarok.cli.options import Json, ModelName
from ragnarok.judged import JudgedRun, JudgedSet, best_grades


def fit(
    output: Output,
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on",
            help="Judged run to fit on: FOLDER:RUN[,depth=N][,weight=W][,judged][,learned]. May be repeated.",
        ),
    ] = None,
    pseudo: Annotated[
        list[str] | None,
        typer.Option(
            "--pseudo", help="Index to fit on without judgments: queries are drawn from its passages."
        ),
    ] = None,
    pairs: Annotated[int, typer.Option(min=20, help="Queries drawn from each --pseudo index.")] = 400,
    model: ModelName = "smollm2-135m",
    groups: Annotated[int, typer.Option(min=1, help="KV groups to keep: a token costs each one's keys.")] = 8,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Use only the first layers. Default: three fifths of them.")
    ] = None,
    passage_tokens: Annotated[int, typer.Option(min=16, help="Tokens read of each passage.")] = 400,
    position: Annotated[
        int, typer.Option(min=0, help="Tokens behind the prefix at which every question stands.")
    ] = 512,
    seed: Annotated[int, typer.Option(help="What shuffled the lists: nothing depends on their order.")] = 13,
    into: Into = None,
    json: Json = False,
) -> None:
    """Fit the scoring heads' weights of late attention by ridge regression.

    Few KV groups in the first layers are kept, strength and rank weights are cross-validated over queries.

    Example: ragnarok heads fit --on dl20:bm25,weight=3 --on dl20:tasb,learned -m smollm2-135m -o heads.json
    """
    import random
    from dataclasses import asdict, replace

    from ragnarok.pseudo import pseudo_lists
    from rerank.fit import FitOptions, RankedList, fit_signals
    from rerank.model import load_model
    from rerank.profile import Note, check_profile

    if not on and not pseudo:
        raise typer.BadParameter("give --on or --pseudo: there is nothing to fit on")
    chosen = [JudgedRun.parse(text) for text in on or []]
    steps = Steps()
    base = read_into(into)
    lists: list[RankedList] = []
    with steps.step("lists read"):
        sets = {folder: JudgedSet.open(folder) for folder in dict.fromkeys(run.folder for run in chosen)}
        for run in chosen:
            for item in sets[run.folder].lists(run):
                order = list(range(len(item.hits)))
                random.Random(f"{seed} {item.qid}").shuffle(order)
                highest = max([*item.judgments.values(), 1])
                lists.append(
                    RankedList(
                        item.query,
                        [item.hits[place].passage.contents for place in order],
                        [item.grades[place] / highest for place in order],
                        [item.hits[place].rank for place in order],
                        [grade / highest for grade in best_grades(list(item.judgments.values()))],
                        run.name,
                        weight=0.0 if run.learned else run.weight,
                        learned=run.learned,
                    )
                )
        for index in pseudo or []:
            lists += pseudo_lists(index, pairs, seed)
    with steps.step(f"model {escape(model)} ready"):
        loaded = load_model(model)
        if base is not None:
            check_profile(base, loaded)
    options = FitOptions(
        groups=groups,
        depth=depth or -(-loaded.shape.layers * 3 // 5),
        passage_tokens=passage_tokens,
        position=position,
    )
    with steps.stages("weights fitted") as progress:
        profile, report = fit_signals(loaded, lists, options, progress)
    notes: dict[str, Note] = {
        "signals.source": "ragnarok heads fit",
        "signals.model": model,
        "signals.on": " ".join([*(on or []), *(f"{index} (label-free)" for index in pseudo or [])]),
        "signals.alpha": report.alpha,
        "signals.lists": report.lists,
        "signals.passages": report.passages,
    }
    if not json:
        out.print(f"groups: {' '.join(f'{count} {value:.4f}' for count, value in report.path)}", markup=False)
    keep(
        replace(profile, provenance=notes),
        base,
        output,
        {
            "first stage": report.first_stage,
            "all groups": report.all_groups,
            "kept": report.kept,
            "transfer between halves": str(report.transfer),
            "kv groups": str(profile.groups),
            "rank weights": f"{profile.lexical:g} lexical, {profile.learned:g} learned",
            **({"report": asdict(report)} if json else {}),
        },
        json=json,
    )
