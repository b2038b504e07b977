"""Options that several commands share, with one wording each."""

import contextlib
import re
from pathlib import Path
from typing import Annotated

import typer

from indexes import Method
from ragnarok.types import GeneratorName, Mode
from rerank.errors import BadHeads

IndexName = Annotated[
    str,
    typer.Option("--index", "-i", envvar="RAGNAROK_INDEX", help="Name or path of the index to search."),
]
MethodName = Annotated[
    Method | None,
    typer.Option("--method", help="First stage; by default the best the index has: hybrid where it can."),
]
ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        envvar="RAGNAROK_MODEL",
        help="Model: smollm2-135m, a .gguf file, a folder of safetensors, or a hub id.",
    ),
]
ProfileFile = Annotated[
    Path | None,
    typer.Option(
        "--profile",
        dir_okay=False,
        envvar="RAGNAROK_PROFILE",
        help="Head profile (JSON). Default: the one that comes with the model.",
    ),
]
ModeName = Annotated[
    Mode | None,
    typer.Option(
        "--mode",
        help="late: passages are read alone and kept; joint: one prompt holds all. "
        "Default: late where the model has a profile.",
    ),
]
FirstStage = Annotated[
    float | None,
    typer.Option(
        "--first-stage",
        min=0.0,
        help="How much the first stage's rank weighs against attention; 0 is attention alone. "
        "Default: as the profile says, 1 in joint mode.",
    ),
]
K1 = Annotated[float, typer.Option("--k1", min=0.0, help="BM25's k1: how fast repeated words saturate.")]
B = Annotated[float, typer.Option("--b", min=0.0, max=1.0, help="BM25's b: how much length is made up for.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, for machines.")]
Generator = Annotated[
    GeneratorName | None,
    typer.Option(
        "--generator",
        help="local: the model writes; quote: the passages' own sentences. Default: by the model's size.",
    ),
]
Heads = Annotated[
    str | None,
    typer.Option(
        "--heads",
        help="Joint mode: heads that count, as layer-head pairs 12-3,14-0 (or a file of them). Default: all.",
    ),
]

_PAIR = re.compile(r"(\d{1,6})-(\d{1,6})", re.ASCII)


def read_heads(text: str | None) -> tuple[tuple[int, int], ...] | None:
    """Layer-head pairs from an option's value or the file it names. Raises `BadHeads`."""
    if text is None:
        return None
    pairs = _pairs(text)
    if not pairs:
        # A name that no file can have is no file; one that is not text holds no pairs.
        with contextlib.suppress(OSError, ValueError):
            pairs = _pairs(Path(text).read_text(encoding="utf-8"))
    if not pairs:
        raise BadHeads(f"heads are layer-head pairs such as 12-3,14-0; {text!r} is not (nor a file of them)")
    return pairs


def _pairs(text: str) -> tuple[tuple[int, int], ...]:
    """The pairs that a text consists of; none if anything else is in it."""
    found = [_PAIR.fullmatch(word) for word in text.replace(",", " ").split()]
    pairs = tuple((int(pair[1]), int(pair[2])) for pair in found if pair is not None)
    return pairs if len(pairs) == len(found) else ()
