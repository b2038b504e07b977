"""What speed is measured on: models of random weights, a profile, texts and queries of a known length."""

import random
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rerank.model import Model
    from rerank.profile import HeadProfile

DEPTH, GROUPS = 20, 8
"""Scoring layers and KV groups of a random model's profile."""


def random_llama(source: str, name: str) -> "Model":
    """Random weights in the shape of Llama-3.1-8B, with the tokenizer of another model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from rerank.model import Model, load_tokenizer

    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = LlamaConfig(
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128_256,
        max_position_embeddings=131_072,
    )
    with torch.device("meta"):
        network = LlamaForCausalLM(config)
    torch.nn.Module.to(network, torch.bfloat16)
    network.to_empty(device=place)
    with torch.no_grad():
        for weight in network.parameters():
            weight.normal_(0, 0.02) if weight.dim() > 1 else weight.fill_(1.0)
    network.model.rotary_emb = type(network.model.rotary_emb)(config, device=place)
    return Model(name, network, load_tokenizer(source))


def profile_for(model: "Model", path: Path | None, *, random: bool, tokens: int) -> "HeadProfile":
    """The profile to time: of a file, the model's own, or `GROUPS` groups spread to layer `DEPTH`."""
    from rerank.late.queries import PROMPT
    from rerank.profile import ROWS, HeadProfile, ModelIdentity, Signal, read_profile, shipped_profile

    found = None if random else (read_profile(path) if path else shipped_profile(model))
    if found is not None:
        return found
    depth = min(DEPTH, model.shape.layers)
    shared = model.shape.heads // model.shape.kv_heads
    layers = [depth - 1 - place * depth // (2 * GROUPS) for place in range(GROUPS)]
    signals = tuple(
        Signal(layer, (place % model.shape.kv_heads) * shared + head, rows, 0.1)
        for place, layer in enumerate(layers)
        for head in range(shared)
        for rows in ROWS
    )
    return HeadProfile(
        ModelIdentity.of(model), prompt=PROMPT, signals=signals, passage_tokens=tokens, position=tokens + 28
    )


def texts_of(model: "Model", tokens: int, size: int) -> list[str]:
    """Different texts of at least `tokens` tokens each."""
    chance = random.Random(7)
    words = _words(model)
    return [" ".join(chance.choices(words, k=tokens)) for _ in range(size)]


def _words(model: "Model") -> list[str]:
    size = len(model.tokenizer)
    tokens = range(min(1000, size // 2), min(6000, size))
    found = (str(model.tokenizer.decode([token])).strip() for token in tokens)
    return [word for word in found if word.isalpha()]


def queries_of(model: "Model", tokens: int) -> Iterator[str]:
    """Queries of `tokens` tokens, in turn; made beforehand, for that takes milliseconds."""
    chance = random.Random(8)
    words = _words(model)
    made = []
    for _ in range(64):
        text = ""
        while len(model.encode([f"Query: {text}"])[0]) < tokens:
            text += f" {chance.choice(words)}"
        made.append(text.strip())
    return cycle(made)
