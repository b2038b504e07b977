"""How large bodies may be, in bytes and in values: the values of any JSON, in any pieces."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bodies import ValueCount
from service.operations import VALUES, VALUES_EACH
from service.settings import Settings
from tests.service.running import client_of
from tests.service.test_bad_input import everything
from tests.service.test_problems import JSON, problem

if TYPE_CHECKING:
    from indexes import Index

VALUE = st.recursive(
    st.none() | st.integers() | st.text('"\\,[{é x'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('"\\,[{'), inner),
)


def values_of(value: object) -> int:
    """Commas and opening brackets that it takes to write a value."""
    if not isinstance(value, list | dict):
        return 0
    items = value.values() if isinstance(value, dict) else value
    return 1 + max(len(value) - 1, 0) + sum(map(values_of, items))


@given(VALUE, st.booleans(), st.lists(st.integers(1, 6)))
def test_values_are_counted_in_whatever_pieces_they_come(
    value: object, plain: bool, sizes: list[int]
) -> None:
    written = json.dumps(value, ensure_ascii=plain).encode()
    count = ValueCount()
    for size in [*sizes, len(written)]:
        count.feed(written[:size])
        written = written[size:]
    assert count.total == values_of(value)


@pytest.mark.anyio
async def test_as_many_values_as_may_be(small_index: Index) -> None:
    parts, chosen = everything(small_index, max_body_bytes=1 << 20, max_documents=5_000)
    for path, body, most in (
        ("/v1/query", '{"query": "q", "depth": 1', VALUES),
        ("/v1/rerank", '{"query": "q", "documents": ["a"], "more": [1', 5_000 * VALUES_EACH),
    ):
        # What is there already: two brackets or more, and the commas.
        left = most - sum(map(body.count, ",[{"))
        end = "]}" if "more" in body else "}"
        async with client_of(parts, chosen) as client:
            for more in (left, left + 1):
                sent = f"{body}{',1' * more}{end}"
                response = await client.post(path, content=sent, headers=JSON)
                if more > left:
                    said = problem(response, 413)["detail"]
                    assert f"more than {most:,} values" in said
                    assert "send less" in said
                else:
                    assert response.status_code != 413


@pytest.mark.anyio
@pytest.mark.parametrize("item", ["{}", "[[[]]]", '""', '{"a":0}'])
async def test_millions_of_values_are_refused(small_index: Index, item: str) -> None:
    many = ",".join([item] * 1_000_000)
    async with client_of(*everything(small_index)) as client:
        sent = f'{{"query": "q", "documents": ["a"], "more": [{many}]}}'
        problem(await client.post("/v1/rerank", content=sent, headers=JSON), 413)


@pytest.mark.anyio
@pytest.mark.parametrize(("path", "member"), [("/v1/rerank", "documents"), ("/v1/generate", "candidates")])
async def test_of_too_many_items_nothing_is_read(small_index: Index, path: str, member: str) -> None:
    parts, chosen = everything(small_index, max_documents=10)
    async with client_of(parts, chosen) as client:
        response = await client.post(path, json={"query": "q", member: [{}] * 11})
    said = problem(response, 422)
    assert said["type"].endswith(":over-limit")
    assert f"11 {member} are over this service's limit of 10; send less" in said["detail"]


def test_the_usual_limit_holds_what_may_be_sent() -> None:
    """A passage with all that collections say of it, as often as it may be sent."""
    one = {
        "docid": "msmarco_v2.1_doc_1#1_1",
        "score": 1.5,
        "doc": {
            "title": "t",
            "url": "u",
            "headings": "h",
            "segment": "s",
            "start_char": 0,
            "end_char": 9,
            "docid": "d",
        },
    }
    settings = Settings()
    count = values_of({"query": "q", "candidates": [one] * settings.max_documents})
    assert count < VALUES_EACH * settings.max_documents
