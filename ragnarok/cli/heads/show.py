"""`ragnarok heads show`: a profile, for people."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ragnarok.cli.console import out, print_json
from ragnarok.cli.heads.shared import identity
from ragnarok.cli.options import Json
from ragnarok.errors import NotFound
from rerank.profile import HeadProfile, check_profile, read_profile, shipped_profile

NUMBER_BYTES = 2
"""What one number of a key takes in bf16."""

SHADES = " ░▒▓█"
"""From a gate of 0 to one of 1."""


def show(
    profile: Annotated[Path | None, typer.Argument(help="A profile's file.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Show the profile shipped for this model, or check that one fits."
        ),
    ] = None,
    strongest: Annotated[int, typer.Option(min=1, help="How many scoring heads to show.")] = 10,
    json: Json = False,
) -> None:
    """Show a head profile: model, scoring heads, what a document token costs, gates, provenance.

    Example: ragnarok heads show profile.json
    """
    shown = _find(profile, model)
    cost = len(shown.groups) * shown.model.head_dim * NUMBER_BYTES
    facts = {"digest": shown.digest, "depth": shown.depth, "groups": shown.groups, "token_bytes": cost}
    if json:
        print_json(asdict(shown) | facts)
        return
    table = Table(box=None, show_header=False)
    for name, value in _facts(shown, cost, strongest):
        table.add_row(name, value)
    out.print(table, markup=False)
    if shown.gates is not None:
        out.print(
            "\ngates, layers down, KV heads across: from ' ' (local) to █ (whole context)", markup=False
        )
        for layer, row in enumerate(shown.gates):
            shades = "".join(SHADES[min(int(gate * len(SHADES)), len(SHADES) - 1)] for gate in row)
            out.print(f"{layer:4} ▕{shades}▏", markup=False)


def _find(profile: Path | None, model: str | None) -> HeadProfile:
    wanted = None if model is None else identity(model)
    if profile is not None:
        shown = read_profile(profile)
        if wanted is not None:
            check_profile(shown, wanted)
        return shown
    if wanted is None:
        raise typer.BadParameter("give a profile's file, or --model for the profile that is shipped for it")
    shipped = shipped_profile(wanted)
    if shipped is None:
        raise NotFound(f"no profile is shipped for {model}; make one: ragnarok heads detect --help")
    return shipped


def _facts(profile: HeadProfile, cost: int, strongest: int) -> list[tuple[str, str]]:
    """The profile's parts that are there, a row each."""
    model = profile.model
    shape = f"{model.layers} layers, {model.heads} heads, {model.kv_heads} KV heads of {model.head_dim}"
    rows = [
        ("model", f"{model.type}: {shape}, hidden {model.hidden}, vocabulary {model.vocabulary:,}"),
        ("digest", profile.digest),
    ]
    if profile.signals:
        ranked = sorted(profile.signals, key=lambda s: -abs(s.weight))
        groups = " ".join(f"{layer}-{head}" for layer, head in profile.groups)
        rows += [
            (
                "prompt",
                f"{profile.prompt}, passages of {profile.passage_tokens} tokens, query at {profile.position}"
                + (f", {profile.repeats} times" if profile.repeats > 1 else "")
                + ("" if profile.distance is None else f", matched at distance {profile.distance}"),
            ),
            ("depth", f"{profile.depth} of {model.layers} layers run"),
            ("groups", f"{len(profile.groups)} of {model.layers * model.kv_heads}: {groups}"),
            ("document token", f"{cost:,} bytes"),
            ("first stage", f"{profile.lexical:g} lexical, {profile.learned:g} learned"),
            ("together", f"{profile.together:g}"),
            ("signals", f"{len(ranked)}, the strongest:"),
            *(("", f"{s.layer}-{s.head} {s.rows:6} {s.weight:+.4f}") for s in ranked[:strongest]),
        ]
    if profile.joint:
        heads = sorted(profile.joint, key=lambda j: -abs(j.weight))
        rows.append(("joint heads", " ".join(f"{j.layer}-{j.head}" for j in heads)))
    if profile.citing:
        rows.append(("citing heads", " ".join(f"{layer}-{head}" for layer, head in profile.citing)))
    return rows + [(name, str(note)) for name, note in sorted(profile.provenance.items())]
