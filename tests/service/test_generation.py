"""Answers from passages that a client brings."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from ragnarok.types import Answer, Hit, Sentence
from service.parts import Parts
from service.settings import Settings
from tests.service.fakes import REFERENCES, SENTENCES, Reciter
from tests.service.running import client_of, events_of
from tests.service.test_problems import problem

pytestmark = pytest.mark.anyio

SETTINGS = Settings(serve="generation", max_documents=3)
CASTORINI = {
    "query": {"text": "how to sort?", "qid": "2024-1"},
    "candidates": [
        {"docid": "d1", "score": 14.5, "doc": {"title": "T", "url": "u", "headings": "h", "segment": "one"}},
        {"docid": 7, "score": 12, "doc": {"contents": "two", "id": "7"}},
        {"doc": "three"},
    ],
}
ANSWER = {
    "sentences": [{"text": s.text, "citations": list(s.citations)} for s in SENTENCES],
    "references": list(REFERENCES),
    "notes": ["one citation was dropped"],
}


class Listener(Reciter):
    """Notes what it is given."""

    def stream(self, query: str, hits: Sequence[Hit]) -> Iterator[Sentence | Answer]:
        """What a reciter says."""
        self.given = [(hit.docid, hit.rank, hit.score, hit.passage.contents) for hit in hits]
        return super().stream(query, hits)


async def test_a_request_of_castorinis_tools() -> None:
    listener = Listener()
    async with client_of(Parts(generator=listener), SETTINGS) as client:
        said = await client.post("/v1/generate", json=CASTORINI)
        plain = await client.post("/v1/generate", json={"query": "how to sort?", "candidates": []})
    assert said.json() == {"query": "how to sort?", "qid": "2024-1", "answer": ANSWER}
    assert plain.json()["answer"]["notes"] == ["no passage was found"]
    assert "qid" not in plain.json()


async def test_the_candidates_are_passages_in_their_order() -> None:
    listener = Listener()
    async with client_of(Parts(generator=listener), SETTINGS) as client:
        await client.post("/v1/generate", json=CASTORINI)
    assert listener.given == [("d1", 1, 14.5, "T\none"), ("7", 2, 12, "two"), ("3", 3, 1 / 3, "three")]


@pytest.mark.parametrize(("headers", "body"), [({"Accept": "text/event-stream"}, {}), ({}, {"stream": True})])
async def test_the_stream_says_the_same(headers: dict[str, str], body: dict[str, bool]) -> None:
    async with client_of(Parts(generator=Reciter()), SETTINGS) as client:
        streamed = await client.post("/v1/generate", json={**CASTORINI, **body}, headers=headers)
    events = events_of(streamed.text)
    assert [name for name, _ in events] == ["sentence", "sentence", "sentence", "done"]
    assert [data for _, data in events[:-1]] == ANSWER["sentences"]
    assert events[-1][1] == {"query": "how to sort?", "qid": "2024-1", "answer": ANSWER}


async def test_an_error_in_mid_stream_ends_it() -> None:
    parts = Parts(generator=Reciter(error=ZeroDivisionError("secret")))
    async with client_of(parts, SETTINGS) as client:
        events = events_of((await client.post("/v1/generate", json={**CASTORINI, "stream": True})).text)
    assert [name for name, _ in events] == ["sentence", "error"]
    assert events[-1][1]["status"] == 500
    assert "secret" not in str(events)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"query": "q"}, "/candidates: Field required"),
        ({"candidates": []}, "/query: Field required"),
        ({"query": "", "candidates": []}, "question is empty"),
        ({"query": {"qid": "1"}, "candidates": []}, "/query.*/text: Field required"),
        ({"query": "q", "candidates": [{"doc": {"title": "t"}}]}, "a document without a text"),
        ({"query": "q", "candidates": [{"doc": 5}]}, "/candidates/0/doc"),
        ({"query": "q", "candidates": [{"doc": "a", "docid": "2"}, {"doc": "b"}]}, "two .* docid '2'"),
        ({"query": "q", "candidates": [{"doc": "a"}] * 4}, "4 candidates are over .* limit of 3"),
    ],
)
async def test_what_cannot_be_answered(body: dict[str, Any], said: str) -> None:
    async with client_of(Parts(generator=Reciter()), SETTINGS) as client:
        response = await client.post("/v1/generate", json=body)
    assert re.search(said, problem(response, 422)["detail"])
