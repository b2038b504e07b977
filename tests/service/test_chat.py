"""Chat completions, asked with OpenAI's own client as it is."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx
import openai
import pytest
from pydantic import SecretStr

from ragnarok.errors import BadSetting, EndpointRejected
from ragnarok.generators import OpenAIGenerator, OpenAIOptions
from ragnarok.types import Answer, Hit, Passage, Sentence
from service.chat import _Content
from service.settings import Settings, load_settings
from tests.service.conftest import Serve
from tests.service.fakes import REFERENCES, SENTENCES, Reciter, Shelf, a_pipeline
from tests.service.running import client_of

TEXT = " ".join(s.text + "".join(f"[{n + 1}]" for n in s.citations) for s in SENTENCES)
URLS = ["urn:ragnarok:doc:lib%23emoji", "urn:ragnarok:doc:lib%23last", "http://docs.test/evil"]
ASKED: Any = [
    {"role": "system", "content": "Speak like a pirate."},
    {"role": "user", "content": "an earlier question"},
    {"role": "assistant", "content": "an earlier answer"},
    {"role": "user", "content": "how to sort?"},
    {"role": "assistant", "content": None},
]


@contextmanager
def client_at(address: str) -> Iterator[openai.OpenAI]:
    """OpenAI's client, as anybody has it."""
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0, timeout=20) as client:
        yield client


def test_an_unchanged_client_gets_a_cited_answer(serve: Serve) -> None:
    shelf = Shelf()
    with client_at(serve(a_pipeline(shelf))) as client:
        said = client.chat.completions.create(
            model="gpt-4o", messages=ASKED, temperature=0.3, n=1, user="me", tools=[], max_tokens=9
        )
    # Earlier turns are not read.
    assert shelf.asked == ["how to sort?"]
    (choice,) = said.choices
    assert (said.model, said.object, choice.finish_reason) == ("ragnarok", "chat.completion", "stop")
    content = choice.message.content
    assert content == TEXT
    marks = [one.url_citation for one in choice.message.annotations or []]
    assert [content[mark.start_index : mark.end_index] for mark in marks] == ["[1]", "[2]", "[2]", "[3]"]
    assert [mark.url for mark in marks] == [URLS[0], URLS[1], URLS[1], URLS[2]]
    assert said.usage is not None
    assert said.usage.prompt_tokens == 3
    assert said.usage.total_tokens == 3 + len(TEXT.split())
    extra = said.model_extra or {}
    assert extra["citations"] == URLS
    assert [one["docid"] for one in extra["search_results"]] == list(REFERENCES)
    assert extra["notes"] == ["one citation was dropped"]


@pytest.mark.parametrize("usage", [True, False])
def test_an_unchanged_client_gets_a_stream(serve: Serve, usage: bool) -> None:
    with client_at(serve(a_pipeline())) as client:
        options: Any = {"include_usage": usage}
        chunks = list(
            client.chat.completions.create(model="any", messages=ASKED, stream=True, stream_options=options)
        )
    told = [chunk for chunk in chunks if chunk.choices]
    assert {(chunk.id, chunk.object, chunk.model) for chunk in chunks} == {
        (chunks[0].id, "chat.completion.chunk", "ragnarok")
    }
    assert told[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in told) == TEXT
    assert [chunk.choices[0].finish_reason for chunk in told] == [None] * (len(told) - 1) + ["stop"]
    assert (told[-1].model_extra or {})["citations"] == URLS
    assert len((told[-1].choices[0].delta.model_extra or {})["annotations"]) == 4
    assert [chunk.usage.prompt_tokens for chunk in chunks if chunk.usage] == ([3] if usage else [])


def test_sentences_come_one_by_one_and_end_with_done(serve: Serve) -> None:
    body = {"messages": ASKED, "stream": True}
    said = httpx.post(f"{serve(a_pipeline())}/v1/chat/completions", json=body).text
    assert said.count("data: ") == 1 + len(SENTENCES) + 1 + 1
    assert said.endswith("\n\ndata: [DONE]\n\n")
    assert said.isascii()


def test_parts_of_text_are_one_question(serve: Serve) -> None:
    shelf = Shelf()
    parts: Any = [{"type": "text", "text": "how"}, {"type": "text", "text": "to sort?"}]
    with client_at(serve(a_pipeline(shelf))) as client:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": parts}])
    assert shelf.asked == ["how to sort?"]


@pytest.mark.parametrize("stream", [True, False])
def test_without_passages_the_answer_says_why(serve: Serve, stream: bool) -> None:
    body = {"messages": ASKED, "stream": stream}
    said = httpx.post(f"{serve(a_pipeline(Shelf([])))}/v1/chat/completions", json=body).text
    assert '"content":"no passage was found"' in said.replace(": ", ":")


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ({"messages": []}, "invalid_request", "/messages"),
        ({}, "invalid_request", "/messages"),
        ({"messages": "hello"}, "invalid_request", "/messages"),
        ({"messages": [{"role": "user", "content": 7}]}, "invalid_request", "/messages/0/content"),
        ({"messages": ASKED, "stream": "yes"}, "invalid_request", "/stream"),
        ({"messages": ASKED[:1]}, "bad_query", "role user"),
        ({"messages": [{"role": "user", "content": " "}]}, "bad_query", "empty"),
        ({"messages": [{"role": "user"}]}, "bad_query", "empty"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "bad_query",
            "image_url",
        ),
    ],
)
@pytest.mark.anyio
async def test_what_cannot_be_answered_is_refused(body: dict[str, Any], code: str, says: str) -> None:
    async with client_of() as client:
        refused = await client.post("/v1/chat/completions", json=body)
    assert refused.status_code == 422
    assert refused.headers["content-type"] == "application/problem+json"
    said = refused.json()
    assert said["type"] == f"urn:ragnarok:problem:{code.replace('_', '-')}"
    assert (said["error"]["type"], said["error"]["code"]) == ("invalid_request_error", code)
    assert said["error"]["message"] == said["detail"]
    assert says in said["detail"]


@pytest.mark.anyio
async def test_elsewhere_errors_are_as_they_were() -> None:
    async with client_of() as client:
        assert "error" not in (await client.post("/v1/query", json={})).json()


def test_a_client_reads_the_errors(serve: Serve) -> None:
    address = serve(a_pipeline(), Settings(max_body_bytes=1000))
    with client_at(address) as client:
        with pytest.raises(openai.UnprocessableEntityError, match="the question is empty") as caught:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": ""}])
        assert (caught.value.code, caught.value.type) == ("bad_query", "invalid_request_error")
        with pytest.raises(openai.APIStatusError, match="1,000 bytes"):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x" * 1000}])


def test_a_stream_that_fails_says_so_to_the_client(serve: Serve) -> None:
    failed = EndpointRejected("host: no such model")
    with client_at(serve(a_pipeline(reciter=Reciter(error=failed)))) as client:
        stream = client.chat.completions.create(model="m", messages=ASKED, stream=True)
        with pytest.raises(openai.APIError, match="no such model") as caught:
            list(stream)
    assert (caught.value.code, caught.value.type) == ("endpoint_rejected", "server_error")


def test_the_one_model_is_listed(serve: Serve) -> None:
    with client_at(serve(a_pipeline())) as client:
        assert [model.id for model in client.models.list()] == ["ragnarok"]
        assert client.models.retrieve("ragnarok").owned_by == "ragnarok"
        with pytest.raises(openai.NotFoundError, match="no model 'gpt-4o'"):
            client.models.retrieve("gpt-4o")


def test_one_service_can_answer_for_another(serve: Serve) -> None:
    options = OpenAIOptions(f"{serve(a_pipeline())}/v1", "ragnarok", SecretStr("any"))
    hits = [Hit(f"d{n}", 1.0, n, Passage(f"d{n}", "text")) for n in (1, 2, 3)]
    with closing(OpenAIGenerator(options)) as generator:
        *_, answer = generator.stream("how to sort?", hits)
    assert isinstance(answer, Answer)
    assert answer.sentences == SENTENCES


def test_blocks_stand_apart_and_marks_break_no_fence() -> None:
    content = _Content()
    sentences = ["So:", "- one", "- two", "```\nx = 1\n```", "Done."]
    said = "".join(content.add(Sentence(text, (0,))) for text in sentences)
    assert said == content.text == "So:[1]\n\n- one[1]\n\n- two[1]\n\n```\nx = 1\n```\n\n[1]\n\nDone.[1]"
    assert {said[start:end] for start, end, _ in content.marks} == {"[1]"}


def test_an_endpoint_that_is_not_named_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGNAROK_GENERATOR", "openai")
    monkeypatch.setenv("RAGNAROK_OPENAI_API_KEY", "sk-x")
    with pytest.raises(BadSetting, match="RAGNAROK_OPENAI_BASE_URL") as caught:
        load_settings()
    assert "sk-x" not in str(caught.value)
    monkeypatch.setenv("RAGNAROK_OPENAI_BASE_URL", "http://h/v1")
    monkeypatch.setenv("RAGNAROK_OPENAI_MODEL", "m")
    endpoint = load_settings().for_pipeline().openai
    assert endpoint == OpenAIOptions("http://h/v1", "m", SecretStr("sk-x"))


def test_the_key_is_in_no_repr_of_the_settings() -> None:
    settings = Settings(generator="openai", openai_api_key=SecretStr("sk-x"), openai_base_url="http://h/v1")
    assert "sk-x" not in f"{settings!r} {settings.model_dump_json()}"
