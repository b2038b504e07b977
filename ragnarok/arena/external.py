"""Systems that are not of this process: one behind an address, one whose answers are in a TREC file."""

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from indexes import Index, IndexNotFound
from ragnarok.arena import codec
from ragnarok.arena.types import System
from ragnarok.errors import (
    BadFormat,
    EndpointBroken,
    EndpointBusy,
    EndpointDenied,
    EndpointRejected,
    EndpointTimeout,
    EndpointUnreachable,
    NotFound,
    RagnarokError,
)
from ragnarok.pipeline import Event, Reranked, Result
from ragnarok.query import clean_query
from ragnarok.trec import AnswerLine, read_answers
from ragnarok.types import Passage, RankedHit, Topic

CONNECT_SECONDS = 10.0
MOST_BYTES = 32 * 1024**2
"""Of an answer; more is refused."""


class RemoteContender:
    """A system that answers `POST URL/v1/query`; its answer comes whole. To be closed."""

    topics: str | None = None

    def __init__(self, name: str, url: str, key: str = "", timeout: float = 60.0) -> None:
        """Take its address, an API key (may be empty) and seconds for an answer; nothing is sent yet."""
        self.system = System(name, {"url": url})
        self._url, self._timeout = f"{url}/v1/query", timeout
        headers = {"accept": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        wait = httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout))
        self._client = httpx.Client(headers=headers, timeout=wait)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def stream(self, question: str, qid: str | None = None) -> Iterator[Event]:
        """Yield `Reranked`, each `Sentence` and the `Result`, once the answer is there.

        Raises `BadQuery`, `EndpointUnreachable`, `EndpointTimeout`, `EndpointDenied`, `EndpointBusy`,
        `EndpointRejected` and `EndpointBroken`.
        """
        del qid
        query = clean_query(question)
        record = self._ask(query)
        try:
            hits = [codec.to_hit(hit) for hit in record.get("hits", [])]
            answer = codec.to_answer(query, record.get("answer"))
            timings = codec.to_timings(record.get("timings", {}))
        except (ValueError, TypeError) as error:
            raise EndpointBroken(
                f"{self._url}: its answer is not in the form of /v1/query ({error})"
            ) from None
        yield Reranked(hits)
        yield from answer.sentences
        yield Result(query, hits, answer, timings)

    def _ask(self, query: str) -> codec.Record:
        try:
            with self._client.stream("POST", self._url, json={"query": query}) as response:
                if not response.is_success:
                    raise self._refusal(response)
                body = self._body(response)
        except httpx.TimeoutException:
            raise self._late() from None
        except httpx.HTTPError as error:
            raise EndpointUnreachable(
                f"{self._url} cannot be reached, or broke off ({type(error).__name__}); see that it runs"
            ) from None
        try:
            return codec.from_text(body)
        except ValueError:
            raise EndpointBroken(
                f"{self._url} answered in no JSON object; see that it is /v1/query"
            ) from None

    def _body(self, response: httpx.Response) -> bytes:
        end, body = time.monotonic() + self._timeout, bytearray()
        for part in response.iter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                raise EndpointBroken(f"{self._url}: its answer has more than {MOST_BYTES:,} bytes")
            if time.monotonic() > end:
                raise self._late()
        return bytes(body)

    def _late(self) -> EndpointTimeout:
        return EndpointTimeout(
            f"{self._url} did not answer in full within {self._timeout:g} s; "
            "raise its timeout, or see what keeps it"
        )

    def _refusal(self, response: httpx.Response) -> RagnarokError:
        status = response.status_code
        if status in {401, 403}:
            return EndpointDenied(
                f"{self._url} does not accept the key (status {status}); see its key_variable"
            )
        if status == 429:
            return EndpointBusy(f"{self._url} takes no more requests now (status 429); ask again later")
        if 400 <= status < 500:
            return EndpointRejected(f"{self._url} refuses the request with status {status}; see its log")
        return EndpointBroken(f"{self._url} failed with status {status}; see its log")


class AnswersContender:
    """A system whose answers to a topic set were given before."""

    def __init__(
        self, name: str, file: Path, topics: str, questions: tuple[Topic, ...], index: Index | None = None
    ) -> None:
        """Read a TREC answer file that answers every topic of the set; `index` has its passages' text.

        Raises `NotFound`, and `BadFormat` for a file that breaks its form or does not answer each topic once.
        """
        lines = read_answers(file)
        self._lines = _by_topic(file, lines, topics, questions)
        self._index = index
        self.topics: str | None = topics
        digest = hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()
        texts = "" if index is None else f" over {index.manifest.name}"
        self.system = System(name, {"answers": f"{lines[0].run_id} {digest}{texts}"})

    def stream(self, question: str, qid: str | None = None) -> Iterator[Event]:
        """Yield `Reranked` with what the answer refers to, each `Sentence`, and the `Result`.

        Raises `NotFound` for a question that is not of the topic set.
        """
        line = self._lines.get(qid or "")
        if line is None:
            raise NotFound(
                f"{self.system.name} has no answer to topic {qid!r}: it answers those of {self.topics!r} only"
            )
        start = time.perf_counter()
        answer = line.answer
        hits = [
            RankedHit(docid, 1.0 / rank, rank, self._passage(docid), rank)
            for rank, docid in enumerate(answer.references, start=1)
        ]
        yield Reranked(hits)
        yield from answer.sentences
        yield Result(question, hits, answer, {"read": time.perf_counter() - start})

    def _passage(self, docid: str) -> Passage:
        if self._index is None:
            return Passage(docid, "")
        try:
            return self._index.passage(docid)
        except IndexNotFound:
            return Passage(docid, "")


def _by_topic(
    file: Path, lines: list[AnswerLine], topics: str, questions: tuple[Topic, ...]
) -> Mapping[str, AnswerLine]:
    found: dict[str, AnswerLine] = {}
    for line in lines:
        if line.topic.qid in found:
            raise BadFormat(f"{file}: topic {line.topic.qid!r} is answered twice; keep one answer a topic")
        found[line.topic.qid] = line
    if missing := [topic.qid for topic in questions if topic.qid not in found]:
        raise BadFormat(
            f"{file}: {len(missing)} topic(s) of the set {topics!r} have no answer, {missing[0]!r} for one"
        )
    return found
