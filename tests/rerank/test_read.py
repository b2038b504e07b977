"""Read mode against its formula, computed over one long row of tokens with every mask written out."""

import math
import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, Gemma2Config, Gemma2ForCausalLM, PreTrainedTokenizerFast

from rerank.errors import BadHeads, BadProfile, ContextTooSmall, NumericalError, StoreUnusable
from rerank.icr import Head, Reading
from rerank.late.types import PAGE
from rerank.model import Model
from rerank.profile import Group, HeadProfile, JointHead, ModelIdentity
from rerank.read import ReadOptions, ReadReranker
from rerank.read.documents import KeptDocuments
from tests.rerank.conftest import FAMILIES, SMALL, make_model

TEXTS = [
    "The tower is in Paris.\nIt was built in 1889.",
    "Bananas are rich in potassium, and the question is about the relevant paragraphs.",
    "Titel\nEine kurze Zeile – mit Umlauten: äöü.",
    "x",
    "",
]
QUERY = "where is the tower?"
GATES = ((0.1, 0.9), (0.2, 0.3), (0.8, 0.0), (0.5, 0.4))
JOINT = (JointHead(0, 1, 0.5), JointHead(1, 0, 2.0), JointHead(2, 2), JointHead(2, 5, -0.7))


def profile_of(model: Model, **changes: object) -> HeadProfile:
    """Passages of up to 30 tokens, which reach past the place of the question's instruction."""
    settings: dict[str, Any] = {"passage_tokens": 30, "position": 20}
    return HeadProfile(ModelIdentity.of(model), **(settings | changes))


def close(expected: Sequence[float]) -> object:
    """The scores that are the same in fp32."""
    return pytest.approx(list(expected), abs=1e-5, rel=1e-5)


def drawn(reading: Reading) -> list[float]:
    """Every token's score, passage by passage."""
    return [token.score for tokens in reading.tokens for token in tokens]


def _masked_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    scaling: float,
    allowed: Tensor,
    distance: Tensor,
    paid: list[Tensor],
    softcap: float | None = None,
    sliding_window: int | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    layer = module.layer_idx
    assert isinstance(layer, int)
    shared = query.shape[1] // key.shape[1]
    logits = query @ key.repeat_interleave(shared, 1).transpose(2, 3) * scaling
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    seen = allowed[layer].repeat_interleave(shared, 0)
    if sliding_window is not None:
        seen = seen & (distance < sliding_window)
    weights = logits.masked_fill(~seen, -math.inf).softmax(-1)
    paid.append(weights[0])
    return (weights @ value.repeat_interleave(shared, 1)).transpose(1, 2), None


AttentionInterface.register("masked", _masked_attention)


def reference(
    model: Model,
    profile: HeadProfile,
    seeing: set[Group] | None = None,
    heads: dict[Head, float] | None = None,
    texts: Sequence[str] = TEXTS,
    query: str = QUERY,
) -> tuple[list[float], list[float]]:
    """Scores of texts and of all their tokens: groups of `seeing` see documents, and `heads` score."""
    shape = model.shape
    heads = heads or {(layer, head): 1.0 for layer in range(shape.layers) for head in range(shape.heads)}
    frame = model.tokenizer.apply_chat_template(
        [{"role": "user", "content": "@@"}], tokenize=False, add_generation_prompt=True
    )
    opening, closing = str(frame).split("@@")
    before = model.encode_template(opening) + model.encode([" Here are some paragraphs:\n\n"])[0]
    [between] = model.encode(
        ["\n\nPlease find information that are relevant to the following query in the paragraphs above.\n\n"]
    )
    documents = [model.encode([text])[0][: profile.passage_tokens] or between[:1] for text in texts]

    def asked(question: str) -> list[Tensor]:
        own = model.encode([f"Query: {question}"])[0] + model.encode_template(closing)
        parts = [before, *documents, between + own]
        owner = torch.cat([torch.full((len(part),), n) for n, part in enumerate(parts)])
        starts = [0, *[len(before)] * len(documents), len(before) + profile.position]
        place = torch.cat([torch.arange(len(part)) + a for part, a in zip(parts, starts, strict=True)])
        asks = owner == len(parts) - 1
        distance = place[:, None] - place
        alone = (owner == owner[:, None]) & (distance >= 0) | (owner == 0) & (owner[:, None] > 0)
        allowed = alone.repeat(shape.layers, shape.kv_heads, 1, 1)
        for layer in range(shape.layers):
            for group in range(shape.kv_heads):
                if seeing is None or (layer, group) in seeing:
                    allowed[layer, group] |= asks[:, None] & ~asks
        paid: list[Tensor] = []
        model.network.set_attn_implementation("masked")
        with torch.no_grad():
            model.network.base_model(
                torch.tensor([[*chain(*parts)]]),
                position_ids=place[None],
                attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool),
                use_cache=False,
                allowed=allowed,
                distance=distance,
                paid=paid,
            )
        model.network.set_attn_implementation("observed")
        mass = torch.zeros(len(owner), dtype=torch.float64)
        for (layer, head), weight in heads.items():
            mass += weight * paid[layer][head, -len(own) :].double().mean(0)
        return [mass[owner == number] for number in range(1, len(parts) - 1)]

    scores, tokens = [], []
    for mine, null in zip(asked(query), asked("N/A"), strict=True):
        own = mine - null
        if len(own) > 1:
            own = own * (own > own.mean() - 2 * own.std())
        scores.append(float(own.sum()))
        tokens += own.tolist()
    return scores, tokens


def gemma2(tokenizer: PreTrainedTokenizerFast) -> Model:
    """A model that caps its logits."""
    torch.manual_seed(7)
    network = Gemma2ForCausalLM(
        Gemma2Config(**SMALL, head_dim=16, sliding_window=40, attn_logit_softcapping=5.0)
    )
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
    return Model("gemma2", network, tokenizer)


@pytest.mark.parametrize("family", [*FAMILIES, "gemma2"])
class TestEqualsTheFormula:
    """For every family, token by token."""

    @pytest.fixture
    def model(self, family: str, tokenizer: PreTrainedTokenizerFast) -> Model:
        return gemma2(tokenizer) if family == "gemma2" else make_model(family, tokenizer)

    @pytest.fixture
    def position(self, family: str) -> int:
        # Windows of 40 positions: the question's first rows see some of the documents' last tokens.
        return 0 if family in ("mistral-sliding", "gemma2", "gemma3") else 20

    def test_all_heads(self, model: Model, position: int) -> None:
        profile = profile_of(model, position=position)
        scores, tokens = reference(model, profile)
        reader = ReadReranker(model, profile, ReadOptions(position=position))
        reading = reader.read(QUERY, TEXTS)
        assert reading.scores == close(scores)
        assert drawn(reading) == close(tokens)
        assert max(map(abs, scores)) > 1e-3
        assert reader.heads.last == model.shape.layers - 1

    def test_retrieval_heads(self, model: Model, position: int) -> None:
        # Half of the groups by their gates, and those that score.
        gates = GATES if model.shape.kv_heads == 2 else [[*row, 0, 0, 0, 0] for row in GATES]
        profile = profile_of(model, position=position, gates=gates, joint=JOINT)
        sparsity = 0.5 if model.shape.kv_heads == 2 else 20 / 23
        reader = ReadReranker(model, profile, ReadOptions(sparsity=sparsity, position=position))
        shared = model.shape.heads // model.shape.kv_heads
        scoring = {(joint.layer, joint.head // shared) for joint in JOINT}
        seeing = {(0, 1), (2, 0), (3, 0), (3, 1)} | scoring
        heads = {(joint.layer, joint.head): joint.weight for joint in JOINT}
        scores, tokens = reference(model, profile, seeing, heads)
        reading = reader.read(QUERY, TEXTS)
        assert reading.scores == close(scores)
        assert drawn(reading) == close(tokens)


def test_needs_no_profile(small: Model) -> None:
    # As profiles say by default: 400 tokens of a passage, the question 512 behind the prefix.
    expected, _ = reference(small, HeadProfile(ModelIdentity.of(small)))
    assert ReadReranker(small).read(QUERY, TEXTS).scores == close(expected)


def test_without_joint_heads_those_of_retrieval_groups_score(small: Model) -> None:
    profile = profile_of(small, gates=GATES)
    seeing = {(0, 1), (2, 0)}
    heads = {(layer, group * 3 + n): 1.0 for layer, group in seeing for n in range(3)}
    expected, _ = reference(small, profile, seeing, heads)
    sparse = ReadReranker(small, profile, ReadOptions(sparsity=6 / 7, position=20))
    named = ReadReranker(small, profile_of(small), ReadOptions(retrieval=((2, 0), (0, 1)), position=20))
    for reader in (sparse, named):
        assert reader.heads.groups == ((1,), (), (0,))
        assert reader.read(QUERY, TEXTS).scores == close(expected)
    dense = ReadReranker(small, profile, ReadOptions(sparsity=0.0, position=20)).read(QUERY, TEXTS).scores
    assert dense == close(reference(small, profile)[0])


def test_options_take_the_place_of_the_profile(small: Model) -> None:
    options = ReadOptions(passage_tokens=9, position=33)
    expected, tokens = reference(small, profile_of(small, passage_tokens=9, position=33))
    reading = ReadReranker(small, profile_of(small), options).read(QUERY, TEXTS)
    assert reading.scores == close(expected)
    assert len(drawn(reading)) == len(tokens)
    assert reading.cut == [True, True, True, False, False]
    assert ReadReranker(small, profile_of(small), ReadOptions(position=0)).read(QUERY, TEXTS).scores


def test_the_question_stands_behind_the_longest_passage(small: Model) -> None:
    # The profile, made for late attention, lets it stand within.
    assert ReadReranker(small, profile_of(small, position=20)).profile.position == 30
    assert ReadReranker(small, profile_of(small, position=50)).profile.position == 50
    expected, _ = reference(small, profile_of(small, position=30))
    assert ReadReranker(small, profile_of(small, position=20)).read(QUERY, TEXTS).scores == close(expected)
    longest = ReadReranker(small, profile_of(small, passage_tokens=100_000)).profile.position
    assert longest == small.shape.context // 2


@pytest.fixture(scope="module")
def expected(small: Model) -> list[float]:
    """Scores of `TEXTS` by a re-ranker of their own."""
    return ReadReranker(small, profile_of(small)).read(QUERY, TEXTS).scores


class TestScoresDependOnNothingElse:
    """The same list, however it is ordered, encoded and kept."""

    def test_order(self, small: Model, expected: list[float]) -> None:
        reader = ReadReranker(small, profile_of(small))
        for order in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
            scores = reader.read(QUERY, [TEXTS[place] for place in order]).scores
            assert scores == close([expected[place] for place in order])

    @pytest.mark.parametrize("tokens", [1, 40, 10_000])
    def test_batches(self, small: Model, expected: list[float], tokens: int) -> None:
        reader = ReadReranker(small, profile_of(small))
        reader.documents.batch_tokens = tokens
        assert reader.read(QUERY, TEXTS).scores == close(expected)

    def test_what_was_kept(self, small: Model, expected: list[float]) -> None:
        reader = ReadReranker(small, profile_of(small), ReadOptions(memory=room_for(small, 5)))
        reader.read("another question", ["another text", *TEXTS[1:3]])
        for _ in range(2):
            assert reader.read(QUERY, TEXTS).scores == close(expected)
        assert reader.stats()["memory"].writes == 6
        reader.read(QUERY, [f"{number} is not the number of another text" for number in range(4)])
        assert reader.stats()["memory"].evictions > 0
        assert reader.read(QUERY, TEXTS).scores == close(expected)

    @pytest.mark.parametrize("block", [1, 5_000])
    def test_blocks(
        self, small: Model, expected: list[float], block: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("rerank.icr.BLOCK", block)
        monkeypatch.setattr("rerank.read.question.BLOCK", block)
        assert ReadReranker(small, profile_of(small)).read(QUERY, TEXTS).scores == close(expected)

    def test_batches_that_do_not_fit_are_halved(
        self, small: Model, expected: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = KeptDocuments._states

        def most_two(kept: KeptDocuments, documents: list[list[int]]) -> Tensor:
            if len(documents) > 2:
                raise torch.OutOfMemoryError("no room")
            return whole(kept, documents)

        monkeypatch.setattr(KeptDocuments, "_states", most_two)
        assert ReadReranker(small, profile_of(small)).read(QUERY, TEXTS).scores == close(expected)

    def test_a_failed_document_is_not_kept(
        self, small: Model, expected: list[float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(*_: object) -> Tensor:
            raise torch.OutOfMemoryError("no room")

        reader = ReadReranker(small, profile_of(small))
        with monkeypatch.context() as patched:
            patched.setattr(KeptDocuments, "_states", never)
            with pytest.raises(torch.OutOfMemoryError):
                reader.read(QUERY, TEXTS)
        assert reader.stats()["memory"].entries == 0
        assert reader.read(QUERY, TEXTS).scores == close(expected)

    def test_half_precision_stays_close(
        self, expected: list[float], tokenizer: PreTrainedTokenizerFast
    ) -> None:
        half = make_model("llama", tokenizer, torch.bfloat16)
        assert ReadReranker(half, profile_of(half)).read(QUERY, TEXTS).scores == pytest.approx(
            expected, abs=0.2
        )


def room_for(model: Model, documents: int, *, columns: int = 14) -> int:
    """Bytes in which so many of the longest documents fit: of all groups, but no values of the last layer."""
    return documents * 2 * PAGE * columns * model.shape.head_dim * 4


def test_only_what_is_read_is_kept(small: Model) -> None:
    def kept(profile: HeadProfile, options: ReadOptions | None = None) -> float:
        reader = ReadReranker(small, profile, options)
        reader.read(QUERY, ["x"])
        return (reader.stats()["memory"].bytes or 0) / (PAGE * small.shape.head_dim * 4)

    # Of 4 × 2 groups, keys and values; of the last layer, keys.
    assert kept(profile_of(small)) == 14
    # Retrieval groups of layers 0 and 2, and group 0 of layer 1 for its scoring head; layer 2 is the last.
    assert kept(profile_of(small, gates=GATES, joint=JOINT)) == 2 * (2 + 1) + 2
    assert kept(profile_of(small), ReadOptions(retrieval=((3, 1),))) == 1


def test_nothing_runs_after_the_last_head_that_scores(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama", tokenizer)
    profile = profile_of(model, gates=GATES, joint=JOINT[:2])
    whole = ReadReranker(model, profile).read(QUERY, TEXTS)
    unneeded = re.compile(r"layers\.1\.(mlp|self_attn\.o_proj|post)|layers\.[23]\.|model\.norm|lm_head")
    spoilt = 0
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if unneeded.search(name):
                parameter.fill_(float("nan"))
                spoilt += 1
    assert spoilt == 25
    assert ReadReranker(model, profile).read(QUERY, TEXTS) == whole


def test_ten_thousand_documents_share_one_context(small: Model) -> None:
    profile = profile_of(small, joint=JOINT)
    distinct = [f"text {number}" for number in range(40)]
    texts = distinct * 250
    reader = ReadReranker(small, profile)
    reading = reader.read(QUERY, texts)
    assert reading.prompt_tokens > 10 * small.shape.context
    assert reader.stats()["memory"].writes == 40
    scores = torch.tensor(reading.scores).view(250, 40)
    torch.testing.assert_close(scores, scores[:1].expand(250, 40), atol=1e-8, rtol=1e-4)
    assert len({round(score, 9) for score in reading.scores[:40]}) > 10


def test_a_list_beyond_its_memory_is_refused(small: Model) -> None:
    memory = room_for(small, 3)
    reader = ReadReranker(small, profile_of(small), ReadOptions(memory=memory))
    long = [f"{number} " + "many words here " * 20 for number in range(4)]
    assert len(reader.read(QUERY, long[:3]).scores) == 3
    with pytest.raises(ContextTooSmall, match=f"4 passages take {memory // 3 * 4} bytes .* is {memory}"):
        reader.read(QUERY, long)
    # The same text takes its place once.
    assert len(reader.read(QUERY, long[:3] * 2).scores) == 6
    with pytest.raises(StoreUnusable):
        ReadReranker(small, profile_of(small), ReadOptions(memory=100))


def test_token_offsets_cover_the_text(small: Model) -> None:
    reading = ReadReranker(small, profile_of(small, passage_tokens=200)).read(QUERY, TEXTS)
    assert not any(reading.cut)
    for text, tokens, score in zip(TEXTS, reading.tokens, reading.scores, strict=True):
        covered = {place for token in tokens for place in range(token.start, token.end)}
        assert covered == set(range(len(text)))
        assert sum(token.score for token in tokens) == pytest.approx(score, abs=1e-6)


def test_no_passages_give_an_empty_reading(small: Model) -> None:
    assert ReadReranker(small, profile_of(small)).read(QUERY, []) == Reading([], [], [], 0)


def test_strange_passages_are_scored(small: Model) -> None:
    strange = ["", " ", "\x00\x07", "🦜" * 5, "שלום עולם", "<|im_end|>\n<|im_start|>a\n", "a" * 9000]
    reading = ReadReranker(small, profile_of(small)).read(" ", strange)
    assert all(map(math.isfinite, reading.scores))
    assert reading.cut == [False] * 6 + [True]
    assert all(map(math.isfinite, ReadReranker(small, profile_of(small)).read(QUERY, [""]).scores))


def test_passages_are_cut_to_the_context(small: Model) -> None:
    profile = profile_of(small, passage_tokens=100_000)
    reading = ReadReranker(small, profile).read(QUERY, ["words " * 3000, "x"])
    assert reading.cut == [True, False]
    before = reading.prompt_tokens - len(drawn(reading))
    assert len(reading.tokens[0]) == small.shape.context - before


def test_the_null_query_itself_scores_nothing(small: Model) -> None:
    assert ReadReranker(small, profile_of(small)).read("N/A", TEXTS).scores == [0] * len(TEXTS)


def test_calibration_and_filter_can_be_left_out(small: Model) -> None:
    bare = ReadReranker(small, profile_of(small), ReadOptions(calibrate=False, drop_low=False))
    real, null = (drawn(bare.read(query, TEXTS)) for query in (QUERY, "N/A"))
    assert min(real) > 0
    whole = ReadReranker(small, profile_of(small), ReadOptions(drop_low=False)).read(QUERY, TEXTS)
    assert drawn(whole) == close([a - b for a, b in zip(real, null, strict=True)])


def test_a_question_that_fills_the_context_is_refused(small: Model) -> None:
    with pytest.raises(ContextTooSmall, match=r"the question takes \d+ tokens and llama has room for \d+"):
        ReadReranker(small, profile_of(small)).read("why " * 2000, TEXTS)
    with pytest.raises(ContextTooSmall, match="has room for 0"):
        ReadReranker(small, profile_of(small, position=3000)).read(QUERY, TEXTS)


@pytest.mark.parametrize("retrieval", [(), ((4, 0),), ((0, 2),), ((-1, 0),)])
def test_groups_that_cannot_be_are_refused(small: Model, retrieval: tuple[Group, ...]) -> None:
    with pytest.raises(BadHeads):
        ReadReranker(small, profile_of(small), ReadOptions(retrieval=retrieval))


def test_a_sparsity_without_any_reader_is_refused(small: Model) -> None:
    with pytest.raises(BadHeads, match="lower the sparsity"):
        ReadReranker(small, profile_of(small, gates=GATES), ReadOptions(sparsity=1.0))
    with pytest.raises(BadProfile, match="sparsity is 2"):
        ReadReranker(small, profile_of(small, gates=GATES), ReadOptions(sparsity=2.0))
    joint = ReadReranker(small, profile_of(small, gates=GATES, joint=JOINT), ReadOptions(sparsity=1.0))
    assert joint.heads.groups == ((0,), (0,), (0, 1))


def test_a_profile_of_another_model_is_refused(small: Model, tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(BadProfile):
        ReadReranker(small, profile_of(make_model("qwen2", tokenizer)))


def test_nan_is_an_error_not_an_order(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama", tokenizer)
    with torch.no_grad():
        next(model.network.parameters()).fill_(float("nan"))
    with pytest.raises(NumericalError, match="llama"):
        ReadReranker(model, profile_of(model)).read(QUERY, TEXTS)
