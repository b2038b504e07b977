"""Options that several commands share, with one wording each."""

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from indexes import Method
from ragnarok.trec import RULES, Year, check_place
from ragnarok.types import GeneratorName, Mode
from rerank.errors import BadHeads

if TYPE_CHECKING:
    from ragnarok.generators import OpenAIOptions

IndexName = Annotated[
    str,
    typer.Option("--index", "-i", envvar="RAGNAROK_INDEX", help="Name or path of the index to search."),
]
TopicsFile = Annotated[Path, typer.Option("--topics", "-t", help="Topics: TSV or JSONL.")]
Corpus = Annotated[Path | None, typer.Option("--corpus", help="Collection with the passages' text.")]
HoldingIndex = Annotated[str | None, typer.Option("--index", "-i", help="Or an index that holds them.")]
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
        help="late: passages are read alone and kept; read: the question reads them all; "
        "joint: one prompt holds all. Default: late where the model has a profile.",
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
        help="local: the model writes; quote: the passages' own sentences; openai: an endpoint's model. "
        "Default: by the model's size.",
    ),
]
OpenAIUrl = Annotated[
    str,
    typer.Option(
        "--openai-base-url",
        envvar="RAGNAROK_OPENAI_BASE_URL",
        help="Generator openai: what /chat/completions is added to. The key is RAGNAROK_OPENAI_API_KEY.",
    ),
]
OpenAIModel = Annotated[
    str,
    typer.Option(
        "--openai-model", envvar="RAGNAROK_OPENAI_MODEL", help="Generator openai: the model's name there."
    ),
]
OpenAITimeout = Annotated[
    float,
    typer.Option(
        "--openai-timeout", envvar="RAGNAROK_OPENAI_TIMEOUT", help="Generator openai: seconds for an answer."
    ),
]
TrackYear = Annotated[
    int, typer.Option("--year", help=f"Year of TREC's RAG track: {', '.join(map(str, RULES))}.")
]
Instruction = Annotated[
    Literal["qa", "ie"], typer.Option(help="Wording: answer the question, or find relevant information.")
]
PassageTokens = Annotated[int, typer.Option(min=16, help="Tokens read of each passage.")]
Heads = Annotated[
    str | None,
    typer.Option(
        "--heads",
        help="Joint mode: heads that count, as layer-head pairs 12-3,14-0 (or a file of them). "
        "Default: the joint heads of --profile, or all.",
    ),
]

Store = Annotated[
    Path | None,
    typer.Option("--store", file_okay=False, help="Late mode: folder that keeps what is read of passages."),
]
StoreBytes = Annotated[
    int, typer.Option("--store-bytes", min=1, help="How large the folder may grow, in bytes.")
]
Redis = Annotated[
    str | None,
    typer.Option("--redis", help="Late mode: Redis that keeps it, redis://HOST:PORT/DATABASE, or both do."),
]
# As ragnarok.documents.STORE_BYTES and LateOptions.memory, which are too slow to import for `--help`.
STORE_BYTES = 10 * 10**9
MEMORY_BYTES = 1 << 30
Int8 = Annotated[
    bool,
    typer.Option("--int8", help="Late mode: keep passages' keys in one byte a number. A store of its own."),
]
MemoryBytes = Annotated[
    int, typer.Option("--memory-bytes", min=1, help="Late mode: bytes of passages' keys in memory.")
]
HostMemoryBytes = Annotated[
    int,
    typer.Option("--host-memory-bytes", min=0, help="Late mode: and of pinned memory beside a GPU."),
]
PolicyName = Annotated[
    str,
    typer.Option(
        "--policy",
        help="What a model that writes keeps in view: full, streaming, duo (needs a profile with gates), "
        "razor (looks for its heads first).",
    ),
]
Sparsity = Annotated[
    float,
    typer.Option(
        "--sparsity", min=0.0, max=1.0, help="duo: share of the KV heads that do not keep everything."
    ),
]

_PAIR = re.compile(r"(\d{1,6})-(\d{1,6})", re.ASCII)


def place(path: Path | None) -> Path | None:
    """Refuse a file that cannot be made before anything is loaded. Raises `BadParameter` and `NotFound`."""
    if path is not None:
        if not path.absolute().parent.is_dir():
            raise typer.BadParameter(f"there is no folder {path.parent}; make it first")
        check_place(path)
    return path


def read_openai(
    generator: GeneratorName | None, base_url: str, model: str, timeout: float
) -> "OpenAIOptions | None":
    """The endpoint, if one is to answer; its key has no place on a command line. Raises `BadSetting`."""
    # Here, not at the top: this imports torch.
    from pydantic import SecretStr

    from ragnarok.generators import OpenAIOptions

    if generator != "openai":
        return None
    return OpenAIOptions(base_url, model, SecretStr(os.environ.get("RAGNAROK_OPENAI_API_KEY", "")), timeout)


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


def track_year(year: int) -> Year:
    """A year that has rules. Raises `BadParameter`."""
    for known in RULES:
        if year == known:
            return known
    raise typer.BadParameter(f"no TREC RAG form of {year}; there are {', '.join(map(str, RULES))}")
