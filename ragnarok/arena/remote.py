"""A system behind an address: asked by `POST URL/v1/query`, heard as it speaks where it can.

Knows the wire of /v1/query, whole and as server-sent events; nothing of who meets whom.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from ragnarok.arena import codec
from ragnarok.arena.types import System
from ragnarok.errors import (
    EndpointBroken,
    EndpointBusy,
    EndpointDenied,
    EndpointRejected,
    EndpointTimeout,
    EndpointUnreachable,
    RagnarokError,
)
from ragnarok.pipeline import Event, Reranked, Result
from ragnarok.query import clean_query
from ragnarok.sse import EventReader
from ragnarok.types import RankedHit

CONNECT_SECONDS = 10.0
MOST_BYTES = 32 * 1024**2
"""Of an answer; more is refused."""

EVENTS = "text/event-stream"


class RemoteContender:
    """A system elsewhere; its sentences come as it says them, or all at once if it sends no events.

    To be closed.
    """

    topics: str | None = None

    def __init__(self, name: str, url: str, key: str = "", timeout: float = 60.0) -> None:
        """Take its address, an API key (may be empty) and seconds for an answer; nothing is sent yet."""
        self.system = System(name, {"url": url})
        self._url, self._timeout = f"{url}/v1/query", timeout
        accept = {"accept": f"{EVENTS}, application/json;q=0.9"}
        headers = accept | ({"authorization": f"Bearer {key}"} if key else {})
        wait = httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout))
        self._client = httpx.Client(headers=headers, timeout=wait)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def stream(self, question: str, qid: str | None = None) -> Iterator[Event]:
        """Yield `Reranked`, each `Sentence` and the `Result`, as the other side says them.

        Raises `BadQuery`, `EndpointUnreachable`, `EndpointTimeout`, `EndpointDenied`, `EndpointBusy`,
        `EndpointRejected` and `EndpointBroken`.
        """
        del qid
        query = clean_query(question)
        with self._failures(), self._client.stream("POST", self._url, json={"query": query}) as response:
            if not response.is_success:
                raise self._refusal(response.status_code)
            if response.headers.get("content-type", "").partition(";")[0].strip().lower() == EVENTS:
                yield from self._heard(query, response)
            else:
                record = codec.from_text(b"".join(self._pieces(response)))
                yield from _whole(query, record, 0, ranked=False)

    def _heard(self, query: str, response: httpx.Response) -> Iterator[Event]:
        """What the events say; what is none of ours is passed over."""
        reader, said, ranked = EventReader(), 0, False
        for piece in self._pieces(response):
            for name, data in reader.feed(piece):
                match name:
                    case "reranked" if not ranked:
                        ranked = True
                        yield Reranked(_hits(codec.from_text(data)))
                    case "sentence":
                        said += 1
                        yield codec.to_sentence(codec.from_text(data))
                    case "done":
                        yield from _whole(query, codec.from_text(data), said, ranked=ranked)
                        return
                    case "error":
                        raise self._refusal(codec.from_text(data).get("status"))
        raise EndpointBroken(f"{self._url} broke off before the end of its answer; see its log")

    def _pieces(self, response: httpx.Response) -> Iterator[bytes]:
        """The body as it comes, until it is too long or takes too long."""
        end, size = time.monotonic() + self._timeout, 0
        for piece in response.iter_bytes():
            size += len(piece)
            if size > MOST_BYTES:
                raise EndpointBroken(f"{self._url}: its answer has more than {MOST_BYTES:,} bytes")
            if time.monotonic() > end:
                raise self._late()
            yield piece

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Give what goes wrong on the way the house's names."""
        try:
            yield
        except httpx.TimeoutException:
            raise self._late() from None
        except httpx.HTTPError as error:
            raise EndpointUnreachable(
                f"{self._url} cannot be reached, or broke off ({type(error).__name__}); see that it runs"
            ) from None
        except (ValueError, TypeError) as error:
            raise EndpointBroken(
                f"{self._url}: its answer is not in the form of /v1/query ({error})"
            ) from None

    def _late(self) -> EndpointTimeout:
        return EndpointTimeout(
            f"{self._url} did not answer in full within {self._timeout:g} s; "
            "raise its timeout, or see what keeps it"
        )

    def _refusal(self, status: object) -> RagnarokError:
        match status:
            case 401 | 403:
                return EndpointDenied(
                    f"{self._url} does not accept the key (status {status}); see its key_variable"
                )
            case 429:
                return EndpointBusy(f"{self._url} takes no more requests now (status 429); ask again later")
            case int() if 400 <= status < 500:
                return EndpointRejected(f"{self._url} refuses the request with status {status}; see its log")
        return EndpointBroken(f"{self._url} failed with status {str(status)[:20]}; see its log")


def _whole(query: str, record: codec.Record, said: int, *, ranked: bool) -> Iterator[Event]:
    """What is left to say once the whole answer is there. Raises `ValueError`."""
    hits = _hits(record)
    answer = codec.to_answer(query, record.get("answer"))
    timings = codec.to_timings(record.get("timings", {}))
    if not ranked:
        yield Reranked(hits)
    yield from answer.sentences[said:]
    yield Result(query, hits, answer, timings)


def _hits(record: codec.Record) -> list[RankedHit]:
    hits = record.get("hits", [])
    if not isinstance(hits, list):
        raise ValueError("hits is no list")
    read = [codec.to_hit(hit) for hit in hits]
    # Before the vote, citations find passages by rank; and who counted otherwise would be known by it.
    if any(hit.rank != rank for rank, hit in enumerate(read, start=1)):
        raise ValueError(f"hits have the ranks {[hit.rank for hit in read][:10]}, not 1, 2, 3 and so on")
    return read
