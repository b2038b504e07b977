"""Late attention against its formula, computed from whole prompts without cache, packing or pages.

Turning is written out here as RoPE is published, in double precision.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedTokenizerFast

from rerank.errors import BadProfile, ContextTooSmall, ModelUnfit, NumericalError, StoreUnusable
from rerank.late import documents, queries
from rerank.late.arena import Arena
from rerank.late.reranker import LateOptions, LateReranker
from rerank.late.types import PAGE
from rerank.model import Model
from rerank.packed import Prefix, Take, read_packed
from rerank.profile import ROWS, HeadProfile, Kinds, ModelIdentity, Signal
from rerank.store.disk import MIN_BYTES, DiskTier
from rerank.store.types import DocumentState
from tests.rerank.conftest import FAMILIES, make_model
from tests.rerank.test_store import MemoryTier

TEXTS = [
    "The tower is in Paris.\nIt was built in 1889.",
    "Bananas are rich in potassium, and the question is about the relevant paragraphs.",
    "Titel\nEine kurze Zeile – mit Umlauten: äöü.",
    "x",
    "",
    "the query and the paragraphs above " * 6,
]
QUERIES = ["where is the tower?", "potassium", "what is the relevant question about the paragraphs above?"]


def close(expected: float | list[float]) -> object:
    """The scores that are the same in fp32."""
    return pytest.approx(expected, abs=1e-5, rel=1e-5)


def profile_of(model: Model, **changes: object) -> HeadProfile:
    """Signals of all four kinds, in three of four layers, two heads of one KV group among them."""
    signals = (
        Signal(0, 1, "query", 0.7, mean=-3.0, scale=2.0),
        Signal(0, 5, "suffix", -0.4, mean=1.0),
        Signal(1, 3, "query", 0.9, scale=0.5),
        Signal(1, 3, "null", -0.8, mean=0.3, scale=0.5),
        Signal(1, 4, "query", -0.2, mean=5.0),
        Signal(2, 0, "null-suffix", 0.6, mean=-2.0, scale=1.5),
        Signal(2, 0, "suffix", 0.3),
    )
    settings: dict[str, Any] = {"signals": signals, "passage_tokens": 64, "position": 80}
    return HeadProfile(ModelIdentity.of(model), "late-1", **(settings | changes))


def reranker(model: Model, profile: HeadProfile | None = None, **options: object) -> LateReranker:
    chosen: dict[str, Any] = {"memory": 1 << 22, **options}
    return LateReranker(model, profile or profile_of(model), LateOptions(**chosen))


def room_for(count: int, model: Model, *, int8: bool = False, tokens: int = 64) -> int:
    """Bytes in which just so many of the longest documents fit."""
    row = model.shape.head_dim + 4 if int8 else model.shape.head_dim * 4
    return count * -(-tokens // PAGE) * PAGE * len(profile_of(model).groups) * row


def _plain_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    scaling: float,
    seen: dict[int, tuple[Tensor, Tensor]],
    sliding_window: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    layer = module.layer_idx
    assert isinstance(layer, int)
    seen[layer] = query[0], key[0]
    shared = query.shape[1] // key.shape[1]
    logits = query @ key.repeat_interleave(shared, 1).transpose(2, 3) * scaling
    place = torch.arange(key.shape[2])
    distance = place[:, None] - place
    hidden = (distance < 0) | (distance >= (sliding_window or len(place)))
    weights = logits.masked_fill(hidden, -math.inf).softmax(-1)
    return (weights @ value.repeat_interleave(shared, 1)).transpose(1, 2), None


AttentionInterface.register("plain", _plain_attention)


def turned(model: Model, layer: int, states: Tensor, by: Tensor) -> Tensor:
    """`states` `[rows, dim]`: numbers i and i + n/2 of the first n turn by `by` · theta^(−2i/n), `[rows]`."""
    config = model.network.config
    if not getattr(config, "no_rope_layers", [1] * 4)[layer]:
        return states
    rope = config.rope_parameters
    if "rope_theta" not in rope:
        rope = rope[config.layer_types[layer]]
    half = int(states.shape[1] * rope.get("partial_rotary_factor", 1.0)) // 2
    angle = by.double()[:, None] * rope["rope_theta"] ** (-torch.arange(half).double() / half)
    plane = torch.complex(states[:, :half], states[:, half : 2 * half]) * torch.polar(
        torch.ones_like(angle), angle
    )
    return torch.cat([plane.real, plane.imag, states[:, 2 * half :]], dim=1)


def reference(model: Model, profile: HeadProfile, query: str, texts: Sequence[str]) -> list[float]:
    """Σ weight · (mean over rows of (LSE over the document − LSE over what a row sees) − mean) / scale.

    A row sees its own query from where it stands, and a document from there or at the profile's distance.
    """
    frame = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": "@@"}], tokenize=False, add_generation_prompt=True
    )
    opening, closing = str(frame).split("@@")
    before = model.encode_template(opening) + model.encode([" Here are some paragraphs:\n\n"])[0]
    [between] = model.encode(
        ["\n\nPlease find information that are relevant to the following query in the paragraphs above.\n\n"]
    )
    after = model.encode_template(closing)
    scale = model.shape.head_dim**-0.5
    shared = model.shape.heads // model.shape.kv_heads

    def places(rest: list[int], gap: int) -> Tensor:
        place = torch.arange(len(before) + len(rest))
        return place + gap * (place >= len(before))

    def run(rest: list[int], gap: int) -> dict[int, tuple[Tensor, Tensor]]:
        seen: dict[int, tuple[Tensor, Tensor]] = {}
        position = places(rest, gap)
        model.network.set_attn_implementation("plain")
        with torch.no_grad():
            model.network.base_model(
                torch.tensor([before + rest]), position_ids=position[None], use_cache=False, seen=seen
            )
        model.network.set_attn_implementation("observed")
        return seen

    def asked(question: str) -> tuple[dict[int, tuple[Tensor, Tensor]], Tensor, int, int]:
        own = model.encode(["\n\n".join([f"Query: {question}"] * profile.repeats)])[0]
        start, rest = len(before) + len(between), between + own + after
        stands = places(rest, profile.position)
        return run(rest, profile.position), stands, start, start + len(own)

    asks = {"query": asked(query), "null": asked("N/A")}
    scores = []
    for text in texts:
        ids = model.encode([text])[0][: profile.passage_tokens] or between[:1]
        keys = run(ids, 0)
        score = 0.0
        for signal in profile.signals:
            seen, stands, start, end = asks["null" if signal.rows.startswith("null") else "query"]
            queries, own = (states.double() for states in seen[signal.layer])
            rows = range(start, end) if signal.rows in ("query", "null") else range(end, own.shape[1])
            group = signal.head // shared
            key = keys[signal.layer][1][group].double()
            asking = queries[signal.head]
            if profile.distance is not None:
                key = turned(model, signal.layer, key, -places(ids, 0))
                asking = turned(model, signal.layer, asking, profile.distance - stands)
            document = key[len(before) :]
            each = []
            for row in rows:
                there = document @ asking[row] * scale
                here = own[group, : row + 1] @ queries[signal.head, row] * scale
                each.append(float(there.logsumexp(0) - here.logsumexp(0)))
            score += signal.weight * (sum(each) / len(each) - signal.mean) / signal.scale
        scores.append(score)
    return scores


@pytest.mark.parametrize("distance", [None, 48])
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_formula_for_every_family(
    family: str, distance: int | None, tokenizer: PreTrainedTokenizerFast
) -> None:
    model = make_model(family, tokenizer)
    profile = profile_of(model, distance=distance)
    late = LateReranker(model, profile)
    for query in QUERIES:
        expected = reference(model, profile, query, TEXTS)
        assert late.read(query, TEXTS).scores == close(expected)


def test_a_question_may_be_written_more_than_once(small: Model) -> None:
    profile = profile_of(small, repeats=3)
    expected = reference(small, profile, QUERIES[0], TEXTS)
    assert LateReranker(small, profile).read(QUERIES[0], TEXTS).scores == close(expected)


@pytest.mark.parametrize("distance", [0, 7, 300])
def test_all_is_matched_at_the_distance_of_the_profile(
    small: Model, distance: int, alone: dict[str, list[float]]
) -> None:
    profile = profile_of(small, distance=distance)
    expected = reference(small, profile, QUERIES[0], TEXTS)
    scores = LateReranker(small, profile).read(QUERIES[0], TEXTS).scores
    assert scores == close(expected)
    assert min(abs(score - other) for score, other in zip(scores, alone[QUERIES[0]], strict=True)) > 1e-3


@pytest.mark.parametrize("int8", [False, True])
def test_where_a_word_stands_says_nothing(small: Model, int8: bool) -> None:
    """In the first layer, whose keys know nothing of the words around them, equal tokens have equal keys."""
    late = reranker(small, profile_of(small, signals=(Signal(0, 1, "query", 1.0),), distance=48), int8=int8)
    [text] = late.documents.tokenize(["zzzzzzzzzzzz"])
    assert len(text.tokens) == 12
    assert len(set(text.tokens)) == 1
    [encoded] = late.documents.read([text], late.null)
    first = encoded.keys[:1].float()
    torch.testing.assert_close(
        encoded.keys.float(), first.expand_as(encoded.keys), atol=1e-4 + int8, rtol=1e-4
    )
    # So a text of n equal words says log n more than one of them.
    one, twelve = late.read(QUERIES[0], ["z", "z" * 12]).scores
    assert twelve - one == pytest.approx(math.log(12), abs=0.1 if int8 else 1e-4)


def test_a_model_whose_positions_cannot_be_turned_is_refused(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("llama", tokenizer)
    monkeypatch.delattr("transformers.models.llama.modeling_llama.apply_rotary_pos_emb")
    with pytest.raises(
        ModelUnfit, match="positions of LlamaForCausalLM cannot be taken apart; use a profile"
    ):
        reranker(model, profile_of(model, distance=48))


@pytest.mark.parametrize("rows", ROWS)
def test_every_kind_of_signal_counts_alone(small: Model, rows: Kinds) -> None:
    profile = profile_of(small, signals=(Signal(3, 2, rows, 2.0, mean=4.0, scale=0.5),))
    expected = reference(small, profile, QUERIES[0], TEXTS)
    assert LateReranker(small, profile).read(QUERIES[0], TEXTS).scores == close(expected)


@pytest.fixture(scope="module")
def alone(small: Model) -> dict[str, list[float]]:
    """Each query's score of each text, every pair by a re-ranker of its own."""
    return {query: [reranker(small).read(query, [text]).scores[0] for text in TEXTS] for query in QUERIES}


class TestScoresDependOnNothingElse:
    """The same pair of query and text, whatever else is scored and wherever keys are kept."""

    def test_order_and_duplicates(self, small: Model, alone: dict[str, list[float]]) -> None:
        late = reranker(small)
        for query in QUERIES:
            twice = [*reversed(TEXTS), *TEXTS, *TEXTS]
            expected = [*reversed(alone[query]), *alone[query], *alone[query]]
            assert late.read(query, twice).scores == close(expected)
        assert late.stats()["memory"].writes == len(TEXTS)

    def test_requests_together(self, small: Model, alone: dict[str, list[float]]) -> None:
        late = reranker(small)
        asks: list[tuple[str, list[str]]] = [
            (QUERIES[0], TEXTS),
            (QUERIES[1], []),
            (QUERIES[2], TEXTS[::-1]),
            (QUERIES[0], TEXTS[2:]),
            (QUERIES[1], TEXTS[:1] * 3),
        ]
        for (query, texts), got in zip(asks, late.read_all(asks), strict=True):
            expected = [alone[query][TEXTS.index(text)] for text in texts]
            assert got.scores == close(expected)
        assert late.read_all([]) == []

    @pytest.mark.parametrize("held", [1, 2, 3])
    def test_memory_for_few_documents(self, small: Model, held: int, alone: dict[str, list[float]]) -> None:
        late = reranker(small, memory=room_for(held, small))
        asks = [(query, TEXTS * 2) for query in QUERIES]
        for _ in range(2):
            for (query, _texts), got in zip(asks, late.read_all(asks), strict=True):
                assert got.scores == close(alone[query] * 2)
        assert late.stats()["memory"].evictions > 0

    @pytest.mark.parametrize("tokens", [1, 20, 50])
    def test_batches_of_documents(self, small: Model, tokens: int, alone: dict[str, list[float]]) -> None:
        late = reranker(small)
        late.documents.batch_tokens = tokens
        assert late.read(QUERIES[0], TEXTS).scores == close(alone[QUERIES[0]])

    def test_logits_in_pieces(
        self, small: Model, alone: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rerank.late.match.BLOCK", 1)
        assert reranker(small).read(QUERIES[0], TEXTS).scores == close(alone[QUERIES[0]])

    def test_disk(self, small: Model, tmp_path: Path, alone: dict[str, list[float]]) -> None:
        for kept in (0, len(TEXTS)):
            store = DiskTier(tmp_path, MIN_BYTES)
            got = reranker(small, store=store).read(QUERIES[0], TEXTS)
            assert (got.scores, got.kept) == (close(alone[QUERIES[0]]), kept)
            store.close()

    @pytest.mark.parametrize("int8", [False, True])
    def test_a_store_behind_little_memory(self, small: Model, int8: bool) -> None:
        store = MemoryTier()
        late = reranker(small, memory=room_for(2, small, int8=int8), store=store, int8=int8)
        first, again = late.read(QUERIES[0], TEXTS), late.read(QUERIES[0], TEXTS)
        assert again.scores == close(first.scores)
        assert (first.kept, again.kept, len(store.records)) == (0, len(TEXTS), len(TEXTS))

    @pytest.mark.parametrize("int8", [False, True])
    @pytest.mark.parametrize("held", [1, 4, 9])
    def test_the_host(self, small: Model, held: int, int8: bool) -> None:
        expected = reranker(small, int8=int8).read(QUERIES[0], TEXTS).scores
        late = reranker(small, memory=room_for(2, small, int8=int8), int8=int8)
        with_host(late, held, small)
        for _ in range(3):
            assert late.read(QUERIES[0], TEXTS).scores == close(expected)
        assert late.stats()["host memory"].hits >= (len(TEXTS) if held == 9 else 0)

    def test_a_store_behind_a_small_host(self, small: Model, alone: dict[str, list[float]]) -> None:
        store = MemoryTier()
        reranker(small, store=store).warm(TEXTS)
        late = with_host(reranker(small, store=store), 1, small)
        got = late.read(QUERIES[0], TEXTS)
        assert (got.scores, got.kept) == (close(alone[QUERIES[0]]), len(TEXTS))


def with_host(late: LateReranker, held: int, model: Model) -> LateReranker:
    """A host's memory beside the CPU's, as beside a GPU's."""
    own = late.memory.keys
    size = room_for(held, model, int8=late.options.int8)
    groups, dim = own.shape[1:]
    host = Arena(groups, dim, own.dtype, own.device, limit_bytes=size, longest=64)
    assert host.capacity == held
    late._arenas["host memory"] = late.host = host
    return late


def spread(scores: Sequence[float]) -> float:
    return float(torch.tensor(scores).std())


def test_half_precision(tokenizer: PreTrainedTokenizerFast) -> None:
    """In bf16 the same pair scores alike in any company, and within a tenth of the scores' spread of fp32."""
    model, exact = (make_model("llama", tokenizer, dtype) for dtype in (torch.bfloat16, torch.float32))
    whole = reranker(model).read(QUERIES[0], TEXTS).scores
    single = [reranker(model).read(QUERIES[0], [text]).scores[0] for text in TEXTS]
    expected = reference(exact, profile_of(exact), QUERIES[0], TEXTS)
    assert whole == pytest.approx(single, abs=0.01 * spread(expected))
    assert whole == pytest.approx(expected, abs=0.1 * spread(expected))


def test_int8(small: Model, alone: dict[str, list[float]]) -> None:
    """Keys of one byte move a score by less than a hundredth of the scores' spread."""
    for query, expected in alone.items():
        got = reranker(small, int8=True).read(query, TEXTS).scores
        assert got == pytest.approx(expected, abs=0.01 * spread(expected))


@pytest.mark.parametrize("rows", [1, 20, 60])
def test_queries_run_in_pieces(
    small: Model, rows: int, alone: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rerank.late.queries.RECORDED", rows)
    got = reranker(small).read_all([(query, TEXTS) for query in QUERIES])
    for query, scores in zip(QUERIES, got, strict=True):
        assert scores.scores == close(alone[query])


class Replayed:
    """Stands in for a recorded run: every run writes to one place."""

    def __init__(self, reader: queries.QueryReader, rows: int, _count: int) -> None:
        heads = len(reader._heads)
        self._reader, self._out = reader, (torch.empty(rows, heads, 8), torch.empty(rows, heads))

    def __call__(self, tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        run = queries._Run(self._reader, sum(map(len, tokens)), len(tokens))
        run.load(tokens)
        for place, made in zip(self._out, run(), strict=True):
            place.fill_(math.nan)[: len(made)] = made
        return self._out


@pytest.mark.parametrize("rows", [1, 2048])
def test_a_recorded_run_is_replayed_without_harm(
    small: Model, rows: int, alone: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_is_recorded", lambda *_: True)
    monkeypatch.setattr(queries, "_Recorded", Replayed)
    monkeypatch.setattr(queries, "RECORDED", rows)
    late = reranker(small)
    for _ in range(2):
        got = late.read_all([(query, TEXTS[:2]) for query in QUERIES])
        for query, scores in zip(QUERIES, got, strict=True):
            assert scores.scores == close(alone[query][:2])
        # These documents are read after the runs above: the null query's rows must be as they were.
        assert late.read(QUERIES[0], TEXTS).scores == close(alone[QUERIES[0]])


class TestArena:
    """Who leaves to make room."""

    def test_what_a_call_needs_stays(self, small: Model, alone: dict[str, list[float]]) -> None:
        late = reranker(small, memory=room_for(3, small))
        long = [text + " the query" * 60 for text in "abcd"]
        late.warm(long[:3])
        # The first was used longest ago, and is needed: the second leaves.
        got = late.read(QUERIES[0], [long[3], long[0], long[3]])
        assert (got.kept, late.stats()["memory"].evictions) == (1, 1)
        assert late.read(QUERIES[0], [long[0], long[2], long[3]]).kept == 3
        assert late.read(QUERIES[0], TEXTS).scores == close(alone[QUERIES[0]])

    @given(
        calls=st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=4), min_size=1, max_size=12),
        pages=st.integers(8, 11),
    )
    def test_documents_of_a_call_lie_apart(self, calls: list[list[int]], pages: int) -> None:
        """Calls of up to `capacity` documents of 1 to 32 tokens, duplicates among them."""
        arena = Arena(
            1, 1, torch.float32, torch.device("cpu"), limit_bytes=pages * PAGE * 4, longest=2 * PAGE
        )
        assert arena.capacity >= 4
        for call in calls:
            names = [str(number) for number in call]
            slots = arena.find(names)
            lengths = {name: 1 + int(name) * 31 // 12 for name in names}
            missing = list(dict.fromkeys(n for n, slot in zip(names, slots, strict=True) if not slot))
            sizes = [lengths[name] for name in missing]
            placed = arena.make_room(missing, sizes, [False] * len(missing))
            value = torch.tensor([float(name) for name in missing])
            keys = value.repeat_interleave(torch.tensor(sizes, dtype=torch.long))[:, None, None]
            arena.write(placed, keys, None, value)
            found = arena.find(names)
            assert found.all()
            for name, state in zip(names, arena.states(found.tolist()), strict=True):
                assert state.keys.flatten().tolist() == [float(name)] * lengths[name]
                assert state.null.tolist() == [float(name)]


class TestTexts:
    """What a text may be."""

    def test_strange_ones(self, small: Model) -> None:
        strange = ["", " ", "\x00\x07", "🦜" * 5, "שלום", "<|im_end|>\n<|im_start|>assistant\n", "\u0301"]
        profile = profile_of(small)
        expected = reference(small, profile, "🦜 שלום", strange)
        got = LateReranker(small, profile).read("🦜 שלום", strange)
        assert got.scores == close(expected)
        assert got.cut == [False] * len(strange)

    def test_blank_queries(self, small: Model) -> None:
        assert all(map(math.isfinite, reranker(small).read("", TEXTS).scores))

    def test_only_the_beginning_of_a_long_one_is_read(self, small: Model) -> None:
        exact = "x y z " * 21 + "x"
        assert len(small.encode([exact])[0]) == 64 * 2 - 1
        profile = profile_of(small, passage_tokens=127)
        got = LateReranker(small, profile).read(
            QUERIES[0], [exact, exact + " y", "x y z " * 100_000, "y" * 100_000, "x"]
        )
        assert got.cut == [False, True, True, True, False]
        assert got.scores[1] == close(got.scores[0])
        assert got.scores[2] == close(got.scores[0])

    def test_a_text_is_cut_to_the_model(self, tokenizer: PreTrainedTokenizerFast) -> None:
        model = make_model("llama", tokenizer)
        profile = profile_of(model, passage_tokens=5000, position=0)
        late = LateReranker(model, profile, LateOptions(memory=1 << 22))
        got = late.read("x", ["paragraphs " * 5000, "y"])
        assert got.cut == [True, False]
        assert all(map(math.isfinite, got.scores))

    def test_thousands(self, small: Model) -> None:
        late = reranker(small, memory=1 << 20)
        texts = [f"paragraph {number} about the query" for number in range(2000)]
        scores = late.read(QUERIES[0], texts).scores
        assert late.memory.capacity < 2000
        few = reranker(small).read(QUERIES[0], [texts[0], texts[999], texts[1999]]).scores
        assert [scores[0], scores[999], scores[1999]] == close(few)

    def test_none(self, small: Model) -> None:
        got = reranker(small).read(QUERIES[0], [])
        assert (got.scores, got.cut, got.kept) == ([], [], 0)


class TestKept:
    """What is counted, and what a store may answer."""

    def test_counts(self, small: Model) -> None:
        late = reranker(small)
        assert late.read(QUERIES[0], TEXTS[:2]).kept == 0
        assert late.read(QUERIES[1], TEXTS[:3] + TEXTS[:1]).kept == 3
        assert late.warm([*TEXTS, *TEXTS]) == len(TEXTS) - 3
        assert late.read(QUERIES[0], TEXTS).kept == len(TEXTS)
        stats = late.stats()["memory"]
        assert (stats.entries, stats.writes) == (len(TEXTS), len(TEXTS))
        assert "store" not in late.stats()

    def test_cut_is_remembered(self, small: Model) -> None:
        store = MemoryTier()
        texts = ["paragraphs " * 70, "x"]
        for _ in range(2):
            assert reranker(small, store=store).read(QUERIES[0], texts).cut == [True, False]

    def test_other_settings_share_nothing(self, small: Model, tokenizer: PreTrainedTokenizerFast) -> None:
        store = MemoryTier()
        reranker(small, store=store).warm(TEXTS)
        other = make_model("llama", tokenizer)
        with torch.no_grad():
            next(other.network.parameters())[0, 0] += 1
        shorter = profile_of(small, passage_tokens=32)
        assert reranker(other, store=store).warm(TEXTS) == len(TEXTS)
        assert reranker(small, shorter, store=store).warm(TEXTS) == len(TEXTS)
        assert reranker(small, int8=True, store=store).warm(TEXTS) == len(TEXTS)
        assert reranker(small, store=store).warm(TEXTS) == 0

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda s: DocumentState(s.keys[:, :1], None, s.null),
            lambda s: DocumentState(s.keys[:, :, :4], None, s.null),
            lambda s: DocumentState(s.keys[:0], None, s.null),
            lambda s: DocumentState(s.keys.repeat(99, 1, 1), None, s.null),
            lambda s: DocumentState(s.keys.half(), None, s.null),
            lambda s: DocumentState(s.keys.char(), torch.ones(s.keys.shape[:2]), s.null),
            lambda s: DocumentState(s.keys, None, s.null.repeat(2)),
            lambda s: DocumentState(s.keys, None, s.null[:0]),
        ],
        ids=["groups", "width", "empty", "too long", "half", "int8", "two nulls", "no null"],
    )
    def test_a_state_of_another_form_is_read_again(
        self, small: Model, spoil: Callable[[DocumentState], DocumentState], alone: dict[str, list[float]]
    ) -> None:
        store = MemoryTier()
        reranker(small, store=store).warm(TEXTS)
        names = list(store.records)
        states = [state for state in store.get(names[:2]) if state is not None]
        store.put(dict(zip(names[:2], map(spoil, states), strict=True)))
        store.records[names[2]] = b"foreign"
        got = reranker(small, store=store).read(QUERIES[0], TEXTS)
        assert (got.scores, got.kept) == (close(alone[QUERIES[0]]), len(TEXTS) - 3)
        assert reranker(small, store=store).warm(TEXTS) == 0


class TestRefused:
    """What cannot be scored, and that nothing is left of it."""

    def test_a_query_longer_than_the_context(self, small: Model) -> None:
        late = reranker(small)
        with pytest.raises(ContextTooSmall, match="room for"):
            late.read("potassium " * 2000, TEXTS)
        assert len(late.read(QUERIES[0], TEXTS).scores) == len(TEXTS)

    def test_weights_that_are_no_numbers(self, tokenizer: PreTrainedTokenizerFast) -> None:
        model = make_model("llama", tokenizer)
        late = reranker(model)
        with torch.no_grad():
            model.network.get_input_embeddings().weight.fill_(math.nan)
        with pytest.raises(NumericalError, match="llama"):
            late.read(QUERIES[0], TEXTS)

    def test_profiles_of_something_else(self, small: Model) -> None:
        profile = profile_of(small)
        for wrong in (
            replace(profile, prompt="late-0"),
            replace(profile, model=replace(profile.model, hidden=64)),
            replace(profile, signals=()),
        ):
            with pytest.raises(BadProfile):
                LateReranker(small, wrong)
        with pytest.raises(BadProfile, match="llama"):
            LateReranker(small)

    def test_memory_for_no_document(self, small: Model) -> None:
        with pytest.raises(StoreUnusable, match="at least"):
            reranker(small, memory=room_for(1, small) - 1)


class Full:
    """Stands in for `read_packed` on a device whose memory is full at times."""

    def __init__(self, at: set[int]) -> None:
        self.at, self.calls, self.sizes = at, 0, list[int]()

    def __call__(
        self, model: Model, prefix: Prefix, sequences: Sequence[Sequence[int]], last: int, take: Take
    ) -> None:
        self.calls += 1
        if self.calls in self.at:
            raise torch.OutOfMemoryError("full")
        self.sizes.append(len(sequences))
        read_packed(model, prefix, sequences, last, take)


class TestFullDevice:
    """A device that runs out of memory."""

    def test_batches_are_halved(
        self, small: Model, monkeypatch: pytest.MonkeyPatch, alone: dict[str, list[float]]
    ) -> None:
        full = Full(at={1, 2})
        monkeypatch.setattr(documents, "read_packed", full)
        assert reranker(small).read(QUERIES[0], TEXTS).scores == close(alone[QUERIES[0]])
        assert sum(full.sizes) == len(TEXTS)
        assert len(full.sizes) >= 3

    def test_one_document_that_is_too_much_leaves_nothing_behind(
        self, small: Model, monkeypatch: pytest.MonkeyPatch, alone: dict[str, list[float]]
    ) -> None:
        late = reranker(small)
        late.documents.batch_tokens = 1
        monkeypatch.setattr(documents, "read_packed", Full(at={4}))
        with pytest.raises(torch.OutOfMemoryError):
            late.read(QUERIES[0], TEXTS)
        assert late.read(QUERIES[0], TEXTS).scores == close(alone[QUERIES[0]])

    def test_what_was_not_written_is_not_found(
        self, small: Model, monkeypatch: pytest.MonkeyPatch, alone: dict[str, list[float]]
    ) -> None:
        def fail(*_: object) -> None:
            raise torch.OutOfMemoryError("full")

        late = reranker(small)
        with monkeypatch.context() as patch:
            patch.setattr(Arena, "write", fail)
            with pytest.raises(torch.OutOfMemoryError):
                late.read(QUERIES[0], TEXTS)
        assert late.stats()["memory"].entries == 0
        assert late.read(QUERIES[0], TEXTS).scores == close(alone[QUERIES[0]])
