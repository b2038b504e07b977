"""The wire to an OpenAI-compatible endpoint: messages in, pieces of text out, every failure by its name.

Knows nothing of passages and citations. Loaded only where it is used: its client library takes a second.
No error carries the key, nor what an endpoint that refused the key says about it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

import httpx2
import openai
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from ragnarok.errors import (
    EndpointBroken,
    EndpointBusy,
    EndpointDenied,
    EndpointRejected,
    EndpointTimeout,
    EndpointUnreachable,
)
from rerank.counts import Counted, TokenKind, uncounted

RETRIES = 2
CONNECT_SECONDS = 10.0
SAID = 200
"""Characters that an error repeats of what the endpoint said."""

_NEGOTIABLE = frozenset({"max_tokens", "temperature", "stream_options"})
"""Parameters that some models refuse; all others are asked for with each."""


class Endpoint:
    """One model behind one address. Safe for threads; to be closed."""

    def __init__(self, base_url: str, model: str, key: str, timeout: float) -> None:
        """Take the address, the model's name there, the key (may be empty) and seconds for an answer."""
        self.model, self.timeout = model, timeout
        self.host = httpx2.URL(base_url).netloc.decode()
        self.counted: Counted = uncounted
        """Hears of the tokens that the endpoint says it has run."""
        self._key = key
        self._refused: frozenset[str] = frozenset()
        self._client = openai.OpenAI(
            base_url=base_url,
            # Not None: the library would look for a key of another host in the environment.
            api_key=key or "none",
            max_retries=RETRIES,
            timeout=httpx2.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
            http_client=openai.DefaultHttpxClient(event_hooks={"response": [self._bound]}),
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def reply(self, messages: Sequence[ChatCompletionMessageParam], max_tokens: int) -> "Reply":
        """What the model says to `messages`, as it comes; read only once, and not begun before that.

        Iterating it raises `EndpointDenied`, `EndpointRejected`, `EndpointBusy`, `EndpointTimeout`,
        `EndpointUnreachable` and `EndpointBroken`.
        """
        return Reply(self, lambda: self._open(messages, max_tokens))

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Give the library's errors the house's names; what they carry with them stays behind."""
        try:
            yield
        except openai.APITimeoutError:
            raise EndpointTimeout(
                f"{self.host} did not answer in full within {self.timeout:g} s; "
                "raise RAGNAROK_OPENAI_TIMEOUT, or see what keeps it"
            ) from None
        except openai.APIConnectionError as error:
            raise EndpointUnreachable(
                f"{self.host} cannot be reached, or broke off ({type(error.__cause__).__name__}); "
                "see that it runs, and that RAGNAROK_OPENAI_BASE_URL names it"
            ) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise EndpointDenied(
                f"{self.host} does not accept the key (status {error.status_code}); "
                "set RAGNAROK_OPENAI_API_KEY to one that it accepts"
            ) from None
        except openai.RateLimitError as error:
            raise EndpointBusy(
                f"{self.host} takes no more requests now{self._said(error)}; ask again later, "
                "or see what its plan allows"
            ) from None
        except openai.APIStatusError as error:
            if error.status_code >= 500:
                raise EndpointBroken(
                    f"{self.host} failed with status {error.status_code}{self._said(error)}; see its log"
                ) from None
            raise EndpointRejected(
                f"{self.host} refuses the request with status {error.status_code}{self._said(error)}; "
                f"see that RAGNAROK_OPENAI_BASE_URL is right and that it has the model {self.model!r}"
            ) from None
        except openai.OpenAIError as error:
            raise EndpointBroken(f"{self.host} ended its answer{self._said(error)}; see its log") from None
        except (ValueError, TypeError, AttributeError):
            raise EndpointBroken(
                f"{self.host} sent what is no answer in OpenAI's form; see that RAGNAROK_OPENAI_BASE_URL "
                "ends where its /chat/completions begins, often in /v1"
            ) from None

    def _open(
        self, messages: Sequence[ChatCompletionMessageParam], max_tokens: int
    ) -> openai.Stream[ChatCompletionChunk]:
        while True:
            refused = self._refused
            limit = "max_completion_tokens" if "max_tokens" in refused else "max_tokens"
            chosen: dict[str, object] = {limit: max_tokens}
            # Without being asked, many do not say how many tokens a stream took.
            wanted = {"temperature": 0, "stream_options": {"include_usage": True}}
            chosen |= {name: value for name, value in wanted.items() if name not in refused}
            try:
                return self._client.chat.completions.create(
                    model=self.model, messages=messages, stream=True, extra_body=chosen
                )
            except openai.BadRequestError as error:
                # Each can be refused once only, so this ends.
                if error.param not in _NEGOTIABLE - refused:
                    raise
                self._refused |= {error.param}

    def _bound(self, response: httpx2.Response) -> None:
        """Let nothing keep a caller for longer than the timeout, however lively it is meanwhile."""
        wait = response.headers.get("retry-after", "")
        if wait.isascii() and wait.isdigit() and int(wait) > self.timeout:
            response.headers["x-should-retry"] = "false"
        if isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = _Bounded(response.stream, time.monotonic() + self.timeout)

    def _said(self, error: openai.OpenAIError) -> str:
        body = error.body if isinstance(error, openai.APIError) else None
        message = body.get("message") if isinstance(body, dict) else None
        words = " ".join(str(message or "").split())
        if self._key:
            words = words.replace(self._key, "***")
        return f" ({words[:SAID]})" if words else ""


class Reply:
    """What a model says: pieces of text, and why it stopped."""

    def __init__(self, endpoint: Endpoint, start: Callable[[], openai.Stream[ChatCompletionChunk]]) -> None:
        """Read from what `start` opens at `endpoint`."""
        self._endpoint, self._start = endpoint, start
        self.ending = ""
        """Why it stopped, once it has: `stop`, `length`, `content_filter`."""

    def __iter__(self) -> Iterator[str]:
        """The pieces as they come."""
        usage: CompletionUsage | None = None
        with self._endpoint.failures(), closing(self._start()) as chunks:
            for chunk in chunks:
                # Some say it with every chunk, of all that came so far.
                usage = chunk.usage or usage
                for choice in chunk.choices or []:
                    self.ending = choice.finish_reason or self.ending
                    if text := choice.delta.content or choice.delta.refusal:
                        yield text
        self._count(usage)
        if not self.ending:
            raise EndpointBroken(
                f"{self._endpoint.host} broke off before its answer was finished, or sent none in OpenAI's "
                "form; ask again, and see that RAGNAROK_OPENAI_BASE_URL ends where its /chat/completions "
                "begins, often in /v1"
            )

    def _count(self, usage: CompletionUsage | None) -> None:
        """Tell of the tokens, where the endpoint says how many they were."""
        kinds: tuple[tuple[TokenKind, str], ...] = (
            ("answer_prompt", "prompt_tokens"),
            ("answer", "completion_tokens"),
        )
        for kind, name in kinds:
            tokens = getattr(usage, name, None)
            if isinstance(tokens, int) and tokens >= 0:
                self._endpoint.counted(kind, tokens)


class _Bounded(httpx2.SyncByteStream):
    """A body that must have come in full by `end`, a time of the monotonic clock."""

    def __init__(self, body: httpx2.SyncByteStream, end: float) -> None:
        self._body, self._end = body, end

    def __iter__(self) -> Iterator[bytes]:
        for part in self._body:
            if time.monotonic() > self._end:
                raise httpx2.ReadTimeout("the body is not complete in time")
            yield part

    def close(self) -> None:
        self._body.close()
