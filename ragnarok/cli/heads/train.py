"""`ragnarok heads train`: which KV heads need their whole context, learnt as DuoAttention does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ragnarok.cli.console import Steps, err, out, print_json
from ragnarok.cli.grouped import grouped
from ragnarok.cli.options import Json, ModelName
from ragnarok.errors import BadFormat
from ragnarok.trec import check_place

if TYPE_CHECKING:
    from rerank.gates import GateSettings
    from rerank.model import Model

Gates = Sequence[Sequence[float]]
Config = Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Training:
    """How long gates are trained, on what, and what a streaming head sees."""

    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 2000
    longest: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens of the longest text; default: 32,000 or the model's context."),
    ] = None
    passkeys: Annotated[int, typer.Option(min=1, max=10, help="Passkeys hidden in a text.")] = 10
    words: Annotated[int, typer.Option(min=1, help="Words of a passkey.")] = 32
    sinks: Annotated[int, typer.Option(min=0, help="First tokens that a streaming head sees.")] = 128
    recent: Annotated[int, typer.Option(min=1, help="Latest tokens that a streaming head sees.")] = 256
    save_every: Annotated[int, typer.Option(min=1, help="Steps between two checkpoints.")] = 50

    def settings(self, context: int) -> "GateSettings":
        """The same for a model that reads `context` tokens."""
        from rerank.gates import GateSettings

        longest = self.longest or min(GateSettings().longest, context)
        return GateSettings(
            steps=self.steps,
            sinks=self.sinks,
            recent=self.recent,
            shortest=min(GateSettings().shortest, longest),
            longest=longest,
            passkeys=self.passkeys,
            words=self.words,
        )


@grouped
def train(
    texts: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="Plain text, the longer the better.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", file_okay=False, help="Folder for the gates and to go on from."),
    ],
    *,
    model: ModelName = "smollm2-135m",
    quick: Annotated[
        bool, typer.Option("--quick", help="No training: score heads by their mean queries and keys.")
    ] = False,
    training: Training,
    json: Json = False,
) -> None:
    """Train DuoAttention's gates, one for each KV head, on passkeys hidden in your text.

    The folder gets full_attention_heads.tsv and config.json, as DuoAttention publishes them, and a picture of
    the loss. Training that was interrupted goes on where it was last saved, when run again.

    Example: ragnarok heads train book.txt --output gates/ --model smollm2-135m
    """
    # Here, not at the top: torch takes seconds to import, and `--help` needs none of it.
    from rerank.gatefiles import write_pattern
    from rerank.model import load_model

    check_place(output / "loss.svg")
    text = "\n\n".join(map(_text, texts))
    steps = Steps()
    with steps.step(f"model {escape(model)} ready"):
        loaded = load_model(model)
    made = _scored if quick else _trained
    gates, how = made(loaded, text, training, output, steps)
    config: Config = {"model_name": model, "sink_size": training.sinks, "recent_size": training.recent}
    write_pattern(output, gates, {**config, **how})
    _say(gates, output, json=json)


def _scored(model: "Model", text: str, training: Training, _: Path, steps: Steps) -> tuple[Gates, Config]:
    """Gates by heads' mean queries and keys, and how they were found."""
    from rerank.gates_quick import quick_gates

    with steps.step("heads scored"):
        gates = quick_gates(model, text, sinks=training.sinks, recent=training.recent)
    return gates, {"source": "ragnarok heads train --quick"}


def _trained(
    model: "Model", text: str, training: Training, output: Path, steps: Steps
) -> tuple[Gates, Config]:
    """Gates by training, which `output` keeps with a picture of its losses, and how they were found."""
    from rerank.gatefiles import draw_losses
    from rerank.gates import train_gates

    settings = training.settings(model.shape.context)
    with steps.stages("gates trained") as progress:
        trained = train_gates(
            model,
            text,
            settings,
            folder=output,
            save_every=training.save_every,
            progress=lambda done, total, _: progress("steps", done, total),
        )
    draw_losses(trained.losses, output / "loss.svg")
    return trained.gates, {
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


def _say(gates: Gates, output: Path, *, json: bool) -> None:
    """How many heads need everything, and what to do with the folder."""
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
