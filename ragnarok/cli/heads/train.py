"""`ragnarok heads train`: which KV heads need their whole context, learnt as DuoAttention does."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ragnarok.cli.console import Steps, err, out, print_json
from ragnarok.cli.options import Json, ModelName
from ragnarok.errors import BadFormat


def train(
    texts: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="Plain text, the longer the better.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", file_okay=False, help="Folder for the gates and to go on from."),
    ],
    model: ModelName = "smollm2-135m",
    quick: Annotated[
        bool, typer.Option("--quick", help="No training: score heads by their mean queries and keys.")
    ] = False,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 2000,
    longest: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens of the longest text; default: 32,000 or the model's context."),
    ] = None,
    passkeys: Annotated[int, typer.Option(min=1, max=10, help="Passkeys hidden in a text.")] = 10,
    words: Annotated[int, typer.Option(min=1, help="Words of a passkey.")] = 32,
    sinks: Annotated[int, typer.Option(min=0, help="First tokens that a streaming head sees.")] = 128,
    recent: Annotated[int, typer.Option(min=1, help="Latest tokens that a streaming head sees.")] = 256,
    save_every: Annotated[int, typer.Option(min=1, help="Steps between two checkpoints.")] = 50,
    json: Json = False,
) -> None:
    """Train DuoAttention's gates, one for each KV head, on passkeys hidden in your text.

    The folder gets full_attention_heads.tsv and config.json, as DuoAttention publishes them, and a picture of
    the loss. Training that was interrupted goes on where it was last saved, when run again.

    Example: ragnarok heads train book.txt --output gates/ --model smollm2-135m
    """
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from rerank.gatefiles import draw_losses, write_pattern
    from rerank.gates import GateSettings, train_gates
    from rerank.gates_quick import quick_gates
    from rerank.model import load_model

    text = "\n\n".join(map(_text, texts))
    tasks = Steps()
    with tasks.step(f"model {escape(model)} ready"):
        loaded = load_model(model)
    config: dict[str, str | int | float] = {"model_name": model, "sink_size": sinks, "recent_size": recent}
    if quick:
        with tasks.step("heads scored"):
            gates = quick_gates(loaded, text, sinks=sinks, recent=recent)
        config["source"] = "ragnarok heads train --quick"
    else:
        longest = longest or min(GateSettings().longest, loaded.shape.context)
        settings = GateSettings(
            steps=steps,
            sinks=sinks,
            recent=recent,
            shortest=min(GateSettings().shortest, longest),
            longest=longest,
            passkeys=passkeys,
            words=words,
        )
        with tasks.stages("gates trained") as progress:
            trained = train_gates(
                loaded,
                text,
                settings,
                folder=output,
                save_every=save_every,
                progress=lambda done, total, _: progress("steps", done, total),
            )
        gates = trained.gates
        config |= {
            "source": "ragnarok heads train",
            "lr": settings.rate,
            "reg_weight": settings.regularisation,
            "num_steps": settings.steps,
            "num_passkeys": settings.passkeys,
            "passkey_length": settings.words,
            "context_length_min": settings.shortest,
            "context_length_max": settings.longest,
            "context_lengths_num_intervals": settings.lengths,
            "seed": settings.seed,
        }
        draw_losses(trained.losses, output / "loss.svg")
    write_pattern(output, gates, config)
    values = [gate for row in gates for gate in row]
    report = {
        "kv_heads": len(values),
        "gates_mean": round(sum(values) / len(values), 4),
        "gates_above_half": sum(gate > 0.5 for gate in values),
        "output": str(output),
    }
    if json:
        print_json(report)
        return
    out.print(
        f"{report['gates_above_half']} of {report['kv_heads']} KV heads have a gate above 0.5, "
        f"written to {output}",
        markup=False,
    )
    err.print("`ragnarok heads import … --format duo` makes a profile of the folder")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise BadFormat(f"{path} cannot be read as text: {' '.join(str(error).split())}") from error
