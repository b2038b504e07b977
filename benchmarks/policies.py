"""What attention policies cost, and how near they stay to full attention.

    python benchmarks/policies.py                             # Llama-3.1-8B's shape, random weights, 100k
    python benchmarks/policies.py --size tiny --tokens 2000   # anywhere
    python benchmarks/policies.py --model smollm2-135m --text book.txt --tokens 4000

Bytes, seconds and milliseconds are of one run, one policy after the other, on the same model and tokens;
milliseconds are a step's median, read as ever and by a recording, whose ratio to full attention follows.
With `--model`, the text is a passkey text: `error` is the distance of the answer's hidden states from those
of full attention, relative to their length, and `found` how many of its tokens come out right.
"""

import argparse
import gc
import json
import platform
import random
import statistics
import time
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from rerank.model import Model, load_model
from rerank.passkeys import PasskeyMaker, PasskeyText
from rerank.policies import DuoPolicy, FullPolicy, Policy, RazorPolicy, StreamingPolicy
from rerank.policies.recorded import RecordedSteps

SIZES = {
    "llama-3.1-8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 512,
    },
}


def random_model(size: str, context: int, device: str) -> Model:
    """A Llama of one of `SIZES` with random weights and no tokenizer."""
    config = LlamaConfig(**SIZES[size], max_position_embeddings=context, rope_theta=500000.0)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if device == "cuda" else torch.float32)
    with torch.device(device):
        network = LlamaForCausalLM(config)
    torch.set_default_dtype(before)
    return Model(size, network, None)


def synchronize(device: str) -> float:
    """The time, once everything asked for is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(model: Model, policy: Policy, text: PasskeyText, args: argparse.Namespace) -> dict[str, object]:
    """Read all but the answers, then them one at a time."""
    ahead = text.answers[0] if text.answers else len(text.tokens) - args.steps
    cache = policy.cache(model.shape, len(text.tokens) + args.steps + 2)
    start = synchronize(args.device)
    model.read(text.tokens[:ahead], cache)
    prefill = synchronize(args.device) - start
    hidden, steps = [], []
    for token in text.tokens[ahead : ahead + args.steps]:
        start = synchronize(args.device)
        hidden.append(model.read([token], cache))
        steps.append(synchronize(args.device) - start)
    # The same tokens' successors once more, by a recording: the first two steps run and record.
    recorded = RecordedSteps(model, cache)
    extra = []
    for token in text.tokens[-args.steps - 2 :]:
        start = synchronize(args.device)
        recorded.read(token)
        extra.append(synchronize(args.device) - start)
    row: dict[str, object] = {
        "recorded_ms": statistics.median(extra[2:]) * 1000,
        "bytes": cache.nbytes,
        "prefill_s": prefill,
        "decode_ms": statistics.median(steps) * 1000,
        "hidden": torch.stack(hidden).float().cpu(),
    }
    if text.answers:
        # The token before an answer's predicts it: the first one's is the prompt's end.
        said = [int(model.logits(state).argmax()) for state in hidden[:-1]]
        wanted = text.tokens[ahead + 1 : ahead + len(hidden)]
        row["found"] = f"{sum(a == b for a, b in zip(said, wanted, strict=True))}/{len(wanted)}"
    return row


def policies(model: Model, args: argparse.Namespace) -> dict[str, Policy]:
    """Full attention, then the others."""
    pick = random.Random(0)
    gates = [[pick.random() for _ in range(model.shape.kv_heads)] for _ in range(model.shape.layers)]
    if args.gates:
        rows = Path(args.gates, "full_attention_heads.tsv").read_text().splitlines()
        gates = [[float(cell) for cell in row.split("\t")] for row in rows]
    half = DuoPolicy.from_gates(gates, args.sparsity, sinks=args.sinks, recent=args.recent)
    return {
        "full": FullPolicy(),
        "duo": half,
        "streaming": StreamingPolicy(args.sinks, args.recent),
        "razor": RazorPolicy(half.retrieval, 4, args.buffer),
    }


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="llama-3.1-8b")
    parser.add_argument("--model", help="a real model, by name or path, instead of random weights")
    parser.add_argument("--text", type=Path, help="filler for passkeys (with --model)")
    parser.add_argument("--gates", help="a folder in DuoAttention's format; default: random gates")
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=24, help="decode steps, of which the median counts")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--sinks", type=int, default=64)
    parser.add_argument("--recent", type=int, default=256)
    parser.add_argument("--buffer", type=int, default=4000, help="RazorAttention's local buffer")
    parser.add_argument("--only", nargs="*", help="these policies, beside full attention")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    if args.model:
        model = load_model(args.model, device=args.device)
        filler = model.encode([args.text.read_text()])[0]
        text = PasskeyMaker(model, filler, passkeys=1, words=args.steps).make(args.tokens, random.Random(0))
    else:
        model = random_model(args.size, args.tokens + args.steps, args.device)
        pick = random.Random(0)
        vocabulary = SIZES[args.size]["vocab_size"]
        text = PasskeyText([pick.randrange(vocabulary) for _ in range(args.tokens + args.steps)], [])
    card = torch.cuda.get_device_name() if args.device == "cuda" else platform.processor()
    print(f"{model.name}, {len(text.tokens)} tokens, {card}, torch {torch.__version__}")
    print("| policy | cache GB | of full | prefill s | decode ms | recorded ms | of full | error | found |")
    print("|---|---|---|---|---|---|---|---|---|")
    rows: dict[str, dict[str, object]] = {}
    warm_up = policies(model, args)["duo"].cache(model.shape, args.tokens)
    model.read(text.tokens[: min(args.tokens, 4096)], warm_up)
    del warm_up
    for name, policy in policies(model, args).items():
        if args.only and name not in {"full", *args.only}:
            continue
        row = rows[name] = measure(model, policy, text, args)
        # Recordings and caches go before the next one's memory is taken.
        gc.collect()
        full = rows.get("full", row)
        error = float((row["hidden"] - full["hidden"]).norm() / full["hidden"].norm())
        quality = f"{error:.4f} | {row['found']}" if args.model else "– | –"
        print(
            f"| {name} | {row['bytes'] / 1e9:.3f} | {row['bytes'] / full['bytes']:.3f} "
            f"| {row['prefill_s']:.2f} | {row['decode_ms']:.2f} | {row['recorded_ms']:.2f} "
            f"| {row['recorded_ms'] / full['recorded_ms']:.3f} | {quality} |",
            flush=True,
        )
    print(json.dumps(vars(args), default=str))


if __name__ == "__main__":
    main()
