"""Answers by another service of ours, sentence by sentence."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress

from pydantic import ValidationError

from ragnarok.types import Answer, Hit, Sentence
from service.clients.upstream import Upstream
from service.errors import UpstreamFailed, UpstreamTimeout
from service.schema import CitedSentence
from service.schema_generation import GenerateResponse


class RemoteGenerator:
    """Has questions answered. Safe for threads; who stops reading ends the work there, too."""

    def __init__(self, upstream: Upstream) -> None:
        """Ask `upstream`; its model and how it answers are its own."""
        self.upstream = upstream

    def stream(self, query: str, hits: Sequence[Hit]) -> Iterator[Sentence | Answer]:
        """Each sentence as it comes, then the whole answer.

        Raises `UpstreamFailed`, `UpstreamTimeout`, and what the service raises, such as `ContextTooSmall`.
        """
        asked = {"query": query, "candidates": list(map(_candidate, hits)), "stream": True}
        events = self.upstream.events("/v1/generate", asked)
        for name, data in events:
            if name == "error":
                raise self.upstream.problem(data)
            try:
                yield _part(name, data)
            except ValidationError as error:
                raise UpstreamFailed(
                    f"the {self.upstream.name} service sent an event {name!r} that cannot be used: "
                    f"{error.errors()[0]['msg']}"
                ) from None
            if name == "done":
                # A connection with something left to read cannot be used again.
                with suppress(UpstreamFailed, UpstreamTimeout):
                    deque(events, maxlen=0)
                return
        raise UpstreamFailed(f"the {self.upstream.name} service broke off its answer; ask again")

    def close(self) -> None:
        """Close the connections."""
        self.upstream.close()


def _candidate(hit: Hit) -> dict[str, object]:
    """A `GivenCandidate`, not checked here: the service does."""
    passage = hit.passage
    document = {"title": passage.title, "text": passage.text, "url": passage.url}
    return {"docid": hit.docid, "score": hit.score, "doc": document}


def _part(name: str, data: str) -> Sentence | Answer:
    if name == "sentence":
        return _sentence(CitedSentence.model_validate_json(data))
    said = GenerateResponse.model_validate_json(data)
    answer = said.answer
    sentences = tuple(map(_sentence, answer.sentences))
    if any(not 0 <= place < len(answer.references) for one in sentences for place in one.citations):
        raise UpstreamFailed("the generation service cites what is none of its answer's references")
    return Answer(said.query, sentences, tuple(answer.references), tuple(answer.notes))


def _sentence(said: CitedSentence) -> Sentence:
    return Sentence(said.text, tuple(said.citations))
