"""Tokens and passes that `/metrics` counts, against what a tiny model was really given."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import pytest
import torch

from ragnarok.generators import LocalGenerator, LocalOptions, OpenAIGenerator, OpenAIOptions, QuoteGenerator
from ragnarok.rerankers import AttentionReranker, LateAttentionReranker
from rerank.icr import InContextReranker
from rerank.model import Model
from rerank.read.reranker import ReadReranker
from service.parts import Parts
from service.settings import Settings
from tests.ragnarok.test_openai import Fake
from tests.rerank.test_late import reranker
from tests.service.running import WAIT, client_of, samples, served

TEXTS = ["The tower is in Paris.", "Bananas are rich in potassium.", "A mill by the river."]
ASKED = {"query": "where is the tower?", "documents": TEXTS}
RERANK = Settings(serve="rerank", model="org/tiny")
GENERATION = Settings(serve="generation", model="org/tiny")
CANDIDATES = [{"docid": str(n), "score": 1.0, "doc": {"segment": text}} for n, text in enumerate(TEXTS)]
GENERATE = {"query": {"text": "where is the tower?", "qid": "1"}, "candidates": CANDIDATES}
BATCH = "ragnarok_rerank_batch"


async def counted(client: httpx.AsyncClient) -> dict[str, float]:
    """What is counted now."""
    return samples((await client.get("/metrics")).text)


def tokens(found: dict[str, float]) -> dict[str, float]:
    """Tokens by their kind."""
    before, after = 'ragnarok_tokens_total{kind="', '"}'
    return {name[len(before) : -len(after)]: n for name, n in found.items() if name.startswith(before)}


@contextmanager
def ran(model: Model) -> Iterator[list[int]]:
    """The tokens of each pass through the model's first layer, as its embedding sees them."""
    rows: list[int] = []

    def see(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        rows.append(args[0].numel())

    hook = model.network.get_input_embeddings().register_forward_pre_hook(see)
    try:
        yield rows
    finally:
        hook.remove()


@pytest.fixture
def late(small: Model) -> Iterator[Parts]:
    """A late re-ranker whose passages are read by nobody yet, and joint beside it."""
    local = LateAttentionReranker(reranker(small), evidence=0)
    parts = Parts(reranker=local, modes={"late": local, "joint": AttentionReranker(InContextReranker(small))})
    yield parts
    parts.close()


@pytest.mark.anyio
async def test_late_mode_counts_what_the_model_runs(late: Parts, small: Model) -> None:
    async with client_of(late, RERANK) as client:
        assert tokens(await counted(client)) == {}
        with ran(small) as rows:
            assert (await client.post("/v1/rerank", json=ASKED)).status_code == 200
        first = await counted(client)
        assert sum(tokens(first).values()) == sum(rows) > 0
        assert tokens(first)["rerank_passages"] == sum(map(len, small.encode(TEXTS)))
        with ran(small) as rows:
            await client.post("/v1/rerank", json=ASKED)
        second = await counted(client)
    assert tokens(second)["rerank_passages"] == tokens(first)["rerank_passages"], "they are kept"
    assert tokens(second)["rerank_query"] - tokens(first)["rerank_query"] == sum(rows)
    assert second[f"{BATCH}_requests_count"] == second[f"{BATCH}_requests_sum"] == 2
    assert second[f"{BATCH}_passages_sum"] == 2 * len(TEXTS)
    assert second[f"{BATCH}_read_passages_sum"] == len(TEXTS)
    assert second[f'{BATCH}_read_passages_bucket{{le="0.0"}}'] == 1, "the second pass read none"


@pytest.mark.anyio
async def test_requests_that_share_a_pass_are_one_sample(late: Parts, small: Model) -> None:
    assert isinstance(late.reranker, LateAttentionReranker)
    batcher = late.reranker.batcher
    async with client_of(late, RERANK.model_copy(update={"threads": 3})) as client:
        with small.turn:
            asked = [
                asyncio.ensure_future(client.post("/v1/rerank", json=ASKED | {"query": f"question {n}?"}))
                for n in range(3)
            ]
            end = asyncio.get_running_loop().time() + WAIT
            while batcher.stats().waiting < 3:
                assert asyncio.get_running_loop().time() < end
                await asyncio.sleep(0.01)
            assert (await counted(client))[f"{BATCH}_waiting"] == 3
        assert {(await one).status_code for one in asked} == {200}
        found = await counted(client)
    assert (found[f"{BATCH}_requests_count"], found[f"{BATCH}_requests_sum"]) == (1, 3)
    assert found[f'{BATCH}_requests_bucket{{le="2.0"}}'] == 0
    assert found[f'{BATCH}_requests_bucket{{le="4.0"}}'] == 1
    assert found[f"{BATCH}_passages_sum"] == 3 * len(TEXTS)


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["joint", "read"])
async def test_the_other_modes_count_what_the_model_runs(small: Model, mode: str) -> None:
    made = AttentionReranker(InContextReranker(small) if mode == "joint" else ReadReranker(small))
    parts = Parts(reranker=made, modes={"joint" if mode == "joint" else "read": made})
    async with client_of(parts, RERANK) as client:
        with ran(small) as rows:
            assert (await client.post("/v1/rerank", json=ASKED)).status_code == 200
        found = tokens(await counted(client))
    assert sum(found.values()) == sum(rows) > 0
    assert set(found) == ({"rerank_prompt"} if mode == "joint" else {"rerank_query", "rerank_passages"})


@pytest.mark.anyio
async def test_a_model_that_writes_counts_prompt_and_answer(small: Model) -> None:
    made = LocalGenerator(small, LocalOptions(max_tokens=5, repeat=1000))
    async with client_of(Parts(generator=made), GENERATION) as client:
        with ran(small) as rows:
            said = await client.post("/v1/generate", json=GENERATE)
        found = tokens(await counted(client))
    assert said.status_code == 200, said.text
    assert found["answer"] == 5
    # The last token that is written is not read again.
    assert found["answer_prompt"] + found["answer"] - 1 == sum(rows)


@pytest.mark.anyio
async def test_a_generator_that_quotes_counts_its_prompts_as_its_own(small: Model) -> None:
    async with client_of(Parts(generator=QuoteGenerator(small)), GENERATION) as client:
        with ran(small) as rows:
            assert (await client.post("/v1/generate", json=GENERATE)).status_code == 200
        found = tokens(await counted(client))
    assert found == {"answer_prompt": sum(rows)}


USAGES: list[tuple[object, dict[str, float]]] = [
    (
        {"prompt_tokens": 91, "completion_tokens": 12, "total_tokens": 103},
        {"answer_prompt": 91, "answer": 12},
    ),
    (None, {}),
    ({"prompt_tokens": "many", "completion_tokens": 3, "total_tokens": -1}, {"answer": 3}),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("usage", "expected"), USAGES)
async def test_an_endpoint_is_taken_at_its_word(usage: object, expected: dict[str, float]) -> None:
    fake = Fake()
    fake.usage = usage
    with (
        served(fake.app()) as address,
        closing(OpenAIGenerator(OpenAIOptions(f"{address}/v1", "m"))) as generator,
    ):
        async with client_of(Parts(generator=generator), GENERATION) as client:
            assert (await client.post("/v1/generate", json=GENERATE)).status_code == 200
            found = tokens(await counted(client))
    assert fake.asked[0]["stream_options"] == {"include_usage": True}
    assert found == expected


@pytest.mark.anyio
async def test_an_endpoint_that_refuses_to_count_is_asked_without() -> None:
    fake = Fake()
    fake.refused = ("stream_options",)
    with (
        served(fake.app()) as address,
        closing(OpenAIGenerator(OpenAIOptions(f"{address}/v1", "m"))) as generator,
    ):
        async with client_of(Parts(generator=generator), GENERATION) as client:
            assert (await client.post("/v1/generate", json=GENERATE)).status_code == 200
            assert tokens(await counted(client)) == {}
    assert ["stream_options" in one for one in fake.asked] == [True, False]
