"""Query rows for late attention: run a micro-batch of queries over the prefix, keep what scoring heads ask.

The query stands at a fixed distance behind the shared prefix, whatever documents it will be matched with;
its instruction is part of a prefix of its own, so that only the question and the end of the chat template
run. Where the profile says at which `distance` all is matched, every row is then turned there, as documents'
keys are to position 0; what a row sees of its own query is summed up before. On a GPU the run is recorded
once for each size and replayed: launching its kernels one by one takes longer than the kernels do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rerank.errors import ContextTooSmall
from rerank.late.own import own_mass
from rerank.late.turning import turning
from rerank.late.types import Rows
from rerank.layout import BLOCK, Layout, blocks_of
from rerank.model import Model
from rerank.observe import AttentionCall
from rerank.packed import Prefix, read_prefix, run_packed
from rerank.profile import HeadProfile
from rerank.prompt import ChatFrame
from rerank.rotary import Rotary
from rerank.steady import steady
from rerank.transfer import send

PROMPT = "late-1"
"""The version of the wording below: profiles hold for one version only."""

LEAD = " Here are some paragraphs:"
SEPARATOR = "\n\n"
INSTRUCTION = "Please find information that are relevant to the following query in the paragraphs above."
MARK = "Query: "
NULL_QUERY = "N/A"

BUCKET, FEWEST = 64, 128
"""Recorded runs come in multiples of this many rows, and in that many at least: fewer are no faster."""

RECORDED = 2048
"""Rows that run at once, and no more are recorded; a longer query runs alone."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text around documents and queries, as tokens: `before` documents, `between`, `after` the query."""

    before: list[int]
    between: list[int]
    after: list[int]

    @classmethod
    def of(cls, model: Model) -> "Prompt":
        """The prompt of version `PROMPT` in `model`'s chat template."""
        frame = ChatFrame.of(model)
        return cls(
            model.encode_template(frame.before) + model.encode([LEAD + SEPARATOR])[0],
            model.encode([SEPARATOR + INSTRUCTION + SEPARATOR])[0],
            model.encode_template(frame.after),
        )


def question(query: str, repeats: int = 1) -> str:
    """What is read of a query: `repeats` times the same, as echo embeddings do (arXiv 2402.15449)."""
    return SEPARATOR.join([MARK + query.strip()] * repeats)


class QueryReader:
    """Turns queries into rows for `rerank.late.match`; not safe for two threads."""

    def __init__(
        self, model: Model, profile: HeadProfile, prefix: Prefix, prompt: Prompt, rotary: Rotary | None
    ) -> None:
        """`prefix` is what documents stand behind; it must reach through the last scoring layer − 1.

        With a `rotary`, rows are turned to the profile's `distance`.
        """
        self._model, self._after, self._repeats = model, prompt.after, profile.repeats
        self._prefix = read_prefix(model, prompt.between, profile.depth, after=prefix, gap=profile.position)
        self._heads = scoring_heads(profile)
        self._starts = group_starts(profile)
        self._turn = turning(rotary, [layer for layer, _ in self._heads], profile.distance or 0)
        place = {head: column for column, head in enumerate(self._heads)}
        weights = torch.zeros(4, len(self._heads))
        constant = 0.0
        for signal in profile.signals:
            weights[_KINDS[signal.rows], place[signal.layer, signal.head]] = signal.weight / signal.scale
            constant -= signal.weight * signal.mean / signal.scale
        self._weights = weights.to(model.device)
        self._constant = constant
        self._last = profile.depth - 1
        self._recorded: dict[tuple[int, int], _Recorded] = {}
        self.scale = model.shape.head_dim**-0.5

    @torch.inference_mode()
    def read(self, queries: Sequence[str]) -> tuple[Rows, Tensor]:
        """Rows of the queries, and what is added to every score of each, fp32 `[queries]`.

        Raises `ContextTooSmall` for a query that does not fit.
        """
        return self._read(queries, 0)

    @torch.inference_mode()
    def null(self) -> tuple[Rows, Tensor]:
        """Rows of the null query, weighed as the profile's null signals are."""
        return self._read([NULL_QUERY], 2)

    def encode(self, queries: Sequence[str]) -> list[list[int]]:
        """The tokens that run for each query. Raises `ContextTooSmall`."""
        encoded = self._model.encode([question(query, self._repeats) for query in queries])
        room = self._model.shape.context - self._prefix.next - len(self._after)
        if (longest := max(map(len, encoded))) > room:
            raise ContextTooSmall(
                f"the question takes {longest} tokens and {self._model.name} has room for {room} behind the "
                "passages. Shorten it or use a model with a longer context"
            )
        return [own + self._after for own in encoded]

    def _read(self, queries: Sequence[str], kind: int) -> tuple[Rows, Tensor]:
        tokens = self.encode(queries)
        # First of all: what follows is prepared while the device runs.
        runs = [self._run(piece) for piece in _pieces(tokens)]
        self._model.counted("rerank_query", sum(map(len, tokens)))
        vectors, own = (torch.cat(parts) for parts in zip(*runs, strict=True))
        lengths = np.array([len(row) for row in tokens])
        starts = np.concatenate([[0], np.cumsum(lengths)])
        ends, device = len(self._after), self._model.device
        owner = np.repeat(np.arange(len(tokens)), lengths)
        is_end = np.arange(starts[-1]) >= starts[1:][owner] - ends
        share = np.stack([~is_end / (lengths[owner] - ends), is_end / max(ends, 1)], axis=1)
        coefficients = send(torch.from_numpy(share).float(), device) @ self._weights[kind : kind + 2]
        base = -(coefficients * own).sum(dim=1)
        added = torch.zeros(len(tokens), device=device)
        added.index_add_(0, send(torch.from_numpy(owner), device), base)
        if kind == 0:
            added += self._constant
        return Rows(vectors, coefficients, starts.tolist(), self._starts, self.scale), added

    def _run(self, tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Query vectors `[rows, heads, dim]` and each one's log-sum-exp over what the query sees itself."""
        lengths = [len(row) for row in tokens]
        total = sum(lengths)
        if not _is_recorded(self._model, total):
            run = _Run(self, total, len(tokens))
            run.load(tokens)
            return run()
        rows, count = max(FEWEST, -(-total // BUCKET) * BUCKET), 1 << (len(lengths) - 1).bit_length()
        if (rows, count) not in self._recorded:
            self._recorded[rows, count] = _Recorded(self, rows, count)
        vectors, own = self._recorded[rows, count](tokens)
        # The next replay writes to the same place, and the null query's rows outlive it.
        return vectors[:total].clone(), own[:total].clone()


def _is_recorded(model: Model, rows: int) -> bool:
    return model.device.type == "cuda" and model.dtype != torch.float32 and rows <= RECORDED


def _pieces(tokens: Sequence[list[int]]) -> Iterator[list[list[int]]]:
    """Queries that run at once: what they see of each other is masked, in the square of their rows."""
    piece: list[list[int]] = []
    rows = 0
    for query in tokens:
        if piece and rows + len(query) > RECORDED:
            yield piece
            piece, rows = [], 0
        piece.append(query)
        rows += len(query)
    yield piece


_KINDS = {"query": 0, "suffix": 1, "null": 2, "null-suffix": 3}


def scoring_heads(profile: HeadProfile) -> list[tuple[int, int]]:
    """The (layer, head) pairs that any signal reads, in order: those of a KV group lie together."""
    return sorted({(signal.layer, signal.head) for signal in profile.signals})


def group_starts(profile: HeadProfile) -> list[int]:
    """Where each KV group's heads begin among `scoring_heads`, and where the last ends."""
    shared = profile.model.heads // profile.model.kv_heads
    heads = scoring_heads(profile)
    starts = [0]
    for place in range(1, len(heads)):
        here, before = heads[place], heads[place - 1]
        if (here[0], here[1] // shared) != (before[0], before[1] // shared):
            starts.append(place)
    return [*starts, len(heads)]


class _Run:
    """One pass of packed queries; its tensors stay where they are, so that it can be recorded."""

    def __init__(self, reader: "QueryReader", rows: int, count: int) -> None:
        """Make room for `rows` tokens of `count` queries, of which some may be empty."""
        self._reader, self._rows, self._count = reader, rows, count
        model = reader._model
        self._sizes = [rows, rows, 3 * (rows // BLOCK + count)]
        self._held = torch.zeros(sum(self._sizes), dtype=torch.long, device=model.device)
        self._lengths: list[int] = []
        by_layer: dict[int, list[int]] = {}
        for layer, head in reader._heads:
            by_layer.setdefault(layer, []).append(head)
        shared = model.shape.heads // model.shape.kv_heads
        # Indexes live on the device: a list would be copied there in the middle of a recording.
        self._columns = {
            layer: (
                torch.tensor(heads, device=model.device),
                torch.tensor(sorted({head // shared for head in heads}), device=model.device),
            )
            for layer, heads in by_layer.items()
        }

    def load(self, tokens: Sequence[Sequence[int]]) -> None:
        """Put queries in place of the last ones; rows that are left over are the last query's, and unused."""
        prefix = self._reader._prefix
        lengths = np.zeros(self._count, np.int64)
        lengths[: len(tokens)] = [len(row) for row in tokens]
        spare = self._rows - int(lengths.sum())
        lengths[-1] += spare
        self._lengths = lengths.tolist()
        first = np.repeat(np.cumsum(lengths) - lengths, lengths)
        blocks = np.zeros((3, self._rows // BLOCK + self._count), np.int64)
        found = blocks_of(lengths)
        blocks[:, : found.shape[1]] = found
        ids = np.fromiter((token for row in tokens for token in row), np.int64, self._rows - spare)
        positions = prefix.next + np.arange(self._rows) - first
        # Rows that nobody wants must not stand where the model has no positions.
        positions[self._rows - spare :] = prefix.next
        every = np.concatenate([ids, np.zeros(spare, np.int64), positions, blocks.ravel()])
        self._held.copy_(send(torch.from_numpy(every), self._held.device))

    def __call__(self) -> tuple[Tensor, Tensor]:
        reader, prefix = self._reader, self._reader._prefix
        tokens, positions, blocks = self._held.split(self._sizes)
        layout = Layout(self._lengths, prefix.length, blocks.view(3, -1).int())
        vectors: list[Tensor] = []
        own: list[Tensor] = []

        def take(call: AttentionCall, query: Tensor, key: Tensor) -> None:
            if call.layer in self._columns:
                heads, groups = self._columns[call.layer]
                reader.scale = call.scaling
                vectors.append(query[:, heads])
                front = prefix.keys[call.layer]
                own.append(own_mass(query, key, front, layout, groups, call.scaling)[:, heads])

        with steady(reader._model.device):
            run_packed(reader._model, prefix, tokens[None], positions[None], layout, reader._last, take)
        turned = reader._turn(torch.cat(vectors, dim=1), positions)
        return turned.contiguous(), torch.cat(own, dim=1)


class _Recorded:
    """A pass of a fixed number of rows and queries as one CUDA graph."""

    def __init__(self, reader: "QueryReader", rows: int, count: int) -> None:
        self._run = _Run(reader, rows, count)
        self._run.load([[0] * rows])
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self._run()
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        # One memory for all: none is replayed while another is, and what they make is copied at once.
        pool = next((other._graph.pool() for other in reader._recorded.values()), None)
        # Other threads may use the GPU meanwhile.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._out = self._run()

    def __call__(self, tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        self._run.load(tokens)
        self._graph.replay()
        return self._out
