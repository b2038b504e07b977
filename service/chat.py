"""OpenAI's chat completions over the pipeline, so that existing clients and chat front ends can ask.

The last message of the user is the question; earlier ones, and what the system or an assistant says, are
not read: each question is answered alone, from the index. Sentences carry their citations as `[1][2]`,
numbered as `citations` (addresses) and `search_results`, and as `url_citation` annotations. Parameters of
OpenAI's that mean nothing here are ignored.
"""

import json
import re
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ragnarok.errors import BadQuery, NotFound
from ragnarok.pipeline import Event, Reranked, Result, Retrieved
from ragnarok.types import Passage, Sentence
from service.answers import Answers
from service.context import current
from service.desk import Desk
from service.door import JsonRoute
from service.problems import for_openai, problem_of, problems_of
from service.schema import QueryRequest
from service.sse import event_content

MODEL = "ragnarok"
"""The one model that is listed. Requests may name any: clients have names of their own built in."""

SNIPPET = 300
"""Characters of a passage that a search result shows."""

_BLOCK = re.compile(r"(?:[-*+•>|]|#+|\d{1,3}[.)])\s|```|~~~|.*\n")
_FENCES = ("```", "~~~")


class TextPart(BaseModel):
    """A part of a message; only those of type `text` can be read."""

    model_config = ConfigDict(strict=True)

    type: str
    text: str = ""


class ChatMessage(BaseModel):
    """A turn of a conversation."""

    model_config = ConfigDict(strict=True)

    role: str
    content: str | list[TextPart] | None = None


class StreamOptions(BaseModel):
    """What a stream holds besides the answer."""

    model_config = ConfigDict(strict=True)

    include_usage: bool | None = None


class ChatRequest(BaseModel):
    """A conversation that ends in a question; what OpenAI's API has besides is ignored."""

    model_config = ConfigDict(strict=True)

    messages: list[ChatMessage] = Field(
        min_length=1,
        fail_fast=True,
        examples=[[{"role": "user", "content": "How do I sort a list by two keys?"}]],
    )
    model: str | None = Field(default=None, description="Any name; there is one model.")
    stream: bool | None = Field(default=None, description="Send chunks as server-sent events.")
    stream_options: StreamOptions | None = None

    def question(self) -> str:
        """The last message of the user. Raises `BadQuery` if there is none, or if it is not text."""
        for message in reversed(self.messages):
            if message.role == "user":
                parts = message.content or ""
                return parts if isinstance(parts, str) else "\n".join(map(_text_of, parts))
        raise BadQuery("no message has the role user; ask the question in one")


class UrlCitation(BaseModel):
    """A mark in the content, the characters `start_index` to before `end_index`, and what it cites."""

    start_index: int
    end_index: int
    title: str
    url: str


class Annotation(BaseModel):
    """A citation."""

    type: Literal["url_citation"] = "url_citation"
    url_citation: UrlCitation


class SearchResult(BaseModel):
    """A cited passage. One without an address on the web has the URN of its docid."""

    docid: str
    title: str
    url: str
    snippet: str
    date: str | None = None

    @classmethod
    def of(cls, passage: Passage) -> Self:
        """The JSON form of `passage`."""
        web = urlsplit(passage.url).scheme in {"http", "https"} if _parses(passage.url) else False
        url = passage.url if web else f"urn:ragnarok:doc:{quote(passage.docid, safe='')}"
        title = passage.title or passage.docid
        return cls(docid=passage.docid, title=title, url=url, snippet=passage.text[:SNIPPET])


class AssistantMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None
    annotations: list[Annotation]


class ChatChoice(BaseModel):
    """The one answer; several (`n`) are not given."""

    index: int = 0
    message: AssistantMessage
    logprobs: None = None
    finish_reason: Literal["stop"] = "stop"


class Usage(BaseModel):
    """The length of question and answer, in words: no one tokenizer counts for all that took part."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, question: str, answer: str) -> Self:
        """Count both."""
        asked, said = len(question.split()), len(answer.split())
        return cls(prompt_tokens=asked, completion_tokens=said, total_tokens=asked + said)


class ChatCompletion(BaseModel):
    """An answer in OpenAI's form; `[n]` in it is the n-th of `citations` and of `search_results`."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str = MODEL
    choices: list[ChatChoice]
    usage: Usage
    citations: list[str]
    search_results: list[SearchResult]
    notes: list[str] = Field(description="What else is to be known of the answer.")


class ModelCard(BaseModel):
    """A model."""

    id: str = MODEL
    object: Literal["model"] = "model"
    created: int
    owned_by: str = MODEL


class ModelList(BaseModel):
    """The models."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


@dataclass
class _Content:
    """The answer's text as it grows, and where its marks are."""

    text: str = ""
    marks: list[tuple[int, int, int]] = field(default_factory=list)
    """Start, end, and the position in the references."""
    block: bool = False
    """Whether the last sentence is code, or an item of a list."""

    def add(self, sentence: Sentence) -> str:
        """Take the next sentence; return what it adds to the text."""
        start, before, self.block = len(self.text), self.block, bool(_BLOCK.match(sentence.text))
        if self.text:
            self.text += "\n\n" if before or self.block else " "
        self.text += sentence.text
        if sentence.citations and sentence.text.endswith(_FENCES):
            self.text += "\n\n"  # On its line, a mark would keep the fence from closing.
        for place in sentence.citations:
            mark = f"[{place + 1}]"
            self.marks.append((len(self.text), len(self.text) + len(mark), place))
            self.text += mark
        return self.text[start:]

    def say(self, notes: Sequence[str]) -> str:
        """Say why there is no sentence, if there is none; return that."""
        added = "" if self.text else "; ".join(notes)
        self.text += added
        return added

    def annotations(self, cited: Sequence[SearchResult]) -> list[Annotation]:
        """The marks and what they cite."""
        return [
            Annotation(
                url_citation=UrlCitation(
                    start_index=start, end_index=end, title=cited[place].title, url=cited[place].url
                )
            )
            for start, end, place in self.marks
        ]


class _Chunks:
    """A stream's events in the form of OpenAI's chunks."""

    def __init__(self, question: str, *, usage: bool) -> None:
        self._question, self._usage = question, usage
        self._head = {"id": _new_id(), "object": "chat.completion.chunk", "created": _now(), "model": MODEL}
        self._content = _Content()

    def event(self, event: Event) -> str:
        match event:
            case Retrieved():
                return self._chunk({"role": "assistant", "content": ""})
            case Reranked():
                return ": re-ranked\n\n"
            case Result():
                return self._last(event)
            case sentence:
                return self._chunk({"content": self._content.add(sentence)})

    def error(self, error: Exception) -> str:
        return f"data: {for_openai(problem_of(error)).model_dump_json(exclude_none=True)}\n\n"

    def _last(self, result: Result) -> str:
        said = self._content.say(result.answer.notes)
        cited = _cited(result)
        annotations = [one.model_dump() for one in self._content.annotations(cited)]
        messages = [self._chunk({"content": said})] if said else []
        messages.append(
            self._chunk(
                {"annotations": annotations},
                "stop",
                citations=[one.url for one in cited],
                search_results=[one.model_dump() for one in cited],
                notes=list(result.answer.notes),
            )
        )
        if self._usage:
            usage = Usage.of(self._question, self._content.text)
            messages.append(_data({**self._head, "choices": [], "usage": usage.model_dump()}))
        return "".join([*messages, "data: [DONE]\n\n"])

    def _chunk(self, delta: dict[str, Any], reason: str | None = None, **more: object) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _data({**self._head, "choices": [choice], **more})


def chat_routes(desk: Desk, answers: Answers) -> APIRouter:
    """Questions to `desk` in OpenAI's form, unless `answers` has theirs, and its list of models."""
    router = APIRouter(responses=problems_of(401, 429, 500, 503, 504))
    asking = APIRouter(prefix="/v1/chat", route_class=JsonRoute)
    listing = APIRouter(prefix="/v1")
    card = ModelCard(created=_now())

    @asking.post(
        "/completions",
        response_model=ChatCompletion,
        responses={
            200: {
                "description": "The answer; or, streamed, chunks of it and [DONE]",
                "content": event_content(),
            },
            **problems_of(400, 401, 408, 413, 415, 422, 429, 500, 502, 503, 504),
        },
        summary="Ask a question in OpenAI's form",
    )
    async def complete(asked: ChatRequest, request: Request, response: Response) -> Response | ChatCompletion:
        """Answer the last message of the user, alone and from the index."""
        said = asked.question()
        question = desk.check(QueryRequest(query=said))
        if asked.stream:
            usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
            return await answers.events(question, _Chunks(said, usage=usage))
        result = await answers.result(question, request)
        response.headers.update({"Cache-Control": "no-store", "X-Cache": current().cache})
        # Nobody reads what is sent to a client that has left.
        return Response(status_code=204) if result is None else _completion(said, result)

    @listing.get("/models", summary="The models that can be asked: one")
    async def models() -> ModelList:
        """List the one model."""
        return ModelList(data=[card])

    @listing.get(
        "/models/{name}",
        responses=problems_of(404, 422),
        summary="A model",
    )
    async def model(name: str) -> ModelCard:
        """Describe the one model."""
        if name != MODEL:
            raise NotFound(f"there is no model {name[:64]!r}; the one here is {MODEL!r}")
        return card

    router.include_router(asking)
    router.include_router(listing)
    return router


def _completion(question: str, result: Result) -> ChatCompletion:
    content = _Content()
    for sentence in result.answer.sentences:
        content.add(sentence)
    content.say(result.answer.notes)
    cited = _cited(result)
    message = AssistantMessage(content=content.text, annotations=content.annotations(cited))
    return ChatCompletion(
        id=_new_id(),
        created=_now(),
        choices=[ChatChoice(message=message)],
        usage=Usage.of(question, content.text),
        citations=[one.url for one in cited],
        search_results=cited,
        notes=list(result.answer.notes),
    )


def _cited(result: Result) -> list[SearchResult]:
    """What the answer's references are, in their order."""
    passages = {hit.docid: hit.passage for hit in result.hits}
    return [SearchResult.of(passages.get(docid, Passage(docid, ""))) for docid in result.answer.references]


def _text_of(part: TextPart) -> str:
    if part.type != "text":
        raise BadQuery(f"a question is text, and a part of it is of type {part.type[:40]!r}; leave that out")
    return part.text


def _parses(url: str) -> bool:
    try:
        urlsplit(url)
    except ValueError:
        return False
    return True


def _data(message: dict[str, Any]) -> str:
    # In ASCII: some clients break lines at other letters of Unicode, too.
    return f"data: {json.dumps(message)}\n\n"


def _new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"


def _now() -> int:
    return int(time.time())
