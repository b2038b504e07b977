"""Answers from passages that the client brings, whole or sentence by sentence."""

from collections.abc import Generator
from typing import Annotated

from fastapi import APIRouter, Request, Response

from ragnarok.query import clean_query
from ragnarok.types import Answer, Sentence
from service.context import current
from service.desk import Desk
from service.door import JsonRoute, at_most
from service.identity import HEADER
from service.parts import Parts
from service.problems import problem_of, problems_of
from service.schema import CitedSentence
from service.schema_generation import GenerateRequest, GenerateResponse
from service.sse import event_content
from service.stream import event_stream, last_of, message, wants_events


class AnswerEvents:
    """The events `sentence` and `done`; `error` ends a stream that failed."""

    def __init__(self, qid: str | None) -> None:
        """Tell the answer to the question of this identifier."""
        self.qid = qid

    def event(self, event: Sentence | Answer) -> str:
        """A sentence, or the whole answer."""
        if isinstance(event, Answer):
            return message("done", GenerateResponse.of(event, self.qid))
        return message("sentence", CitedSentence(text=event.text, citations=list(event.citations)))

    def error(self, error: Exception) -> str:
        """A problem."""
        return message("error", problem_of(error))


def generation_routes(desk: Desk) -> APIRouter:
    """Answers by `desk` from passages that are sent with the question."""
    router = APIRouter(
        prefix="/v1",
        route_class=JsonRoute,
        responses={
            200: {
                "description": "The answer; or, streamed, the events sentence, done and error",
                "content": event_content("sentence", "done", "error"),
            },
            **problems_of(400, 401, 408, 413, 415, 422, 429, 500, 502, 503, 504),
        },
    )
    few = at_most(desk.settings.max_documents, "candidates")

    @router.post(
        "/generate",
        response_model=GenerateResponse,
        response_model_exclude_none=True,
        summary="Answer a question from passages",
    )
    async def generate(
        asked: Annotated[GenerateRequest, few], request: Request, response: Response
    ) -> GenerateResponse | Response:
        """Answer from the candidates, best first, as many of them as the service reads.

        With `stream` or an Accept of text/event-stream, every `sentence` is sent as soon as it is certain.
        """
        query, hits = clean_query(asked.text), asked.hits
        current().question = query

        def work(parts: Parts) -> Generator[Sentence | Answer]:
            assert parts.generator is not None
            yield from parts.generator.stream(query, hits)

        streams = wants_events(request, stream=asked.stream)
        job = desk.submit(work, whole=not streams)
        identity = desk.parts.identity("generation")
        said = {} if identity is None else {HEADER: identity}
        if streams:
            return event_stream(job, AnswerEvents(asked.qid), said)
        response.headers.update({"Cache-Control": "no-store", **said})
        answer = await last_of(job, request)
        # Nobody reads what is sent to a client that has left.
        if answer is None:
            return Response(status_code=204)
        assert isinstance(answer, Answer)
        return GenerateResponse.of(answer, asked.qid)

    return router
