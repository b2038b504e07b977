"""What a team needs to run the service: an id for every request, counters, and one log line for each.

And who stands at the door, in their order. The log names route, status, time and client, and what was asked
only where it is told to. Knows HTTP and the desk; nothing of what routes do.
"""

import logging
import time

from fastapi import FastAPI, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragnarok.errors import BadSetting
from service import logs
from service.bodies import BodyLimit, Most
from service.cache import Cache
from service.context import REQUEST_ID, Asked, begin
from service.counting import count
from service.desk import Desk
from service.keys import KeyCheck, read_keys
from service.limits import Limits, Rates
from service.metrics import Metrics
from service.problems import answer
from service.settings import Settings, split_list, variable
from service.timeouts import TimeLimits, Times

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that are asked for all the time: counted, and not logged."""

BULK = ("/v1/rerank", "/v2/rerank", "/v1/generate", "/v1/search")
"""Paths whose bodies bring documents, or many queries."""

VALUES, VALUES_EACH = 65_536, 16
"""How many values any body may hold, and how many for each document or query that it may bring, where that is
more: a passage with its address, its place in its document and its score has a dozen."""

EXPOSED = (REQUEST_ID, "X-Cache", "Retry-After", "RateLimit", "RateLimit-Policy")
"""Headers of an answer that a page of another site may read."""


class Observed:
    """Gives every request an id, counts it, and logs it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, questions: bool = False) -> None:
        """Stand before `app`; with `questions`, the log holds them."""
        self.app, self.metrics, self.questions = app, metrics, questions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        asked = begin(Headers(scope=scope).get(REQUEST_ID, ""))
        start, status, begun = time.perf_counter(), 500, False

        async def named(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                MutableHeaders(scope=message)[REQUEST_ID] = asked.id
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, named)
        except Exception as error:
            # Answered here, for the id's sake: what stands outside of this knows none.
            if begun:
                raise
            await answer(error, scope, receive, named)
        finally:
            self.metrics.in_flight.dec()
            spent = time.perf_counter() - start
            # A path that is no route is the client's invention: counters must not grow with those.
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if route != "none" else "any"
            self.metrics.requests.labels(method, route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(spent)
            if scope["path"] not in QUIET:
                self._say(asked, scope, route, status, spent)

    def _say(self, asked: Asked, scope: Scope, route: str, status: int, spent: float) -> None:
        record = {
            "request": asked.id,
            "client": asked.client or (scope.get("client") or ("unknown",))[0],
            "method": scope["method"],
            "route": route,
            "status": status,
            "seconds": round(spent, 4),
        }
        if self.questions and asked.question:
            record["question"] = asked.question[: logs.QUESTION]
        logs.say(record)


def _batching(desk: Desk) -> dict[str, float]:
    """How requests share the re-ranker's passes, if late mode re-ranks here."""
    if not desk.ready or "rerank" not in desk.settings.stages_here():
        return {}
    # Not at the top: it loads torch, which a gateway does without.
    from ragnarok.rerankers import LateAttentionReranker

    reranker = desk.parts.reranker
    if not isinstance(reranker, LateAttentionReranker):
        return {}
    return {"rerank_batch_waiting": float(reranker.batcher.stats().waiting)}


def _guard(app: FastAPI, settings: Settings, metrics: Metrics, rates: Rates, desk: Desk) -> None:
    """Set up what stands before the routes, from the innermost to the outermost. Raises `BadSetting`."""

    def refused(why: str) -> None:
        metrics.refused.labels(why).inc()

    few = Most(settings.max_body_bytes, VALUES)
    items = max(settings.max_documents, settings.max_queries)
    many = Most(max(settings.max_documents_bytes, few.bytes), max(VALUES, VALUES_EACH * items))
    times = Times(settings.body_seconds, settings.request_seconds, settings.stream_seconds)
    app.add_middleware(BodyLimit, most=few, others=dict.fromkeys(BULK, many))
    app.add_middleware(TimeLimits, times=times, told=refused)
    app.add_middleware(
        Limits, rates=rates, rate=settings.rate_limit, at_once=settings.max_in_flight, told=refused
    )
    if settings.api_keys is not None:
        app.add_middleware(KeyCheck, keys=read_keys(settings.api_keys))
    if origins := split_list(settings.cors_origins):
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=EXPOSED,
        )
    if settings.otlp_endpoint is not None:
        _trace(app, settings.otlp_endpoint, settings.serve, desk)
    app.add_middleware(Observed, metrics=metrics, questions=settings.log_questions)


def _trace(app: FastAPI, endpoint: str, role: str, desk: Desk) -> None:
    """Send traces to the collector at `endpoint`. Raises `BadSetting` where packages for it are missing."""
    try:
        from service.tracing import Traced, Tracing
    except ModuleNotFoundError as error:
        raise BadSetting(
            f"{variable('otlp_endpoint')} needs packages that are not here ({error.name}); install them: "
            "pip install 'ragnarok-attention[otel]'"
        ) from None
    tracing = Tracing(endpoint, role)
    desk.traced = tracing.stages
    app.add_middleware(Traced, tracing=tracing)


def install(app: FastAPI, settings: Settings, desk: Desk, cache: Cache) -> None:
    """Observe every request of `app`, set guards at its door, and serve `/metrics`. Raises `BadSetting`."""

    def levels() -> dict[str, float]:
        redis = {} if cache.shared is None else {"redis_up": float(cache.shared.up)}
        return {"ready": float(desk.ready), "waiting": float(desk.waiting), **redis, **_batching(desk)}

    def totals() -> dict[str, float]:
        return {} if cache.shared is None else {"redis_errors": float(cache.shared.errors)}

    # Its lines hold whole addresses, and with them questions; one line a request is enough.
    logging.getLogger("uvicorn.access").disabled = True
    logs.install(settings.log_format)
    metrics = Metrics(levels, totals)
    cache.told = lambda kind, outcome: metrics.cache.labels(kind, outcome).inc()
    desk.timed = lambda stage, seconds: metrics.stages.labels(stage).observe(seconds)
    desk.waited = metrics.queue.observe
    desk.opened = lambda parts: count(parts, metrics)
    desk.worded = lambda kind, words: metrics.words.labels(kind).inc(words)
    _guard(app, settings, metrics, Rates(cache.shared), desk)

    text = {"content": {"text/plain": {"schema": {"type": "string"}}}}

    @app.get(
        "/metrics",
        summary="What was counted, for Prometheus",
        response_class=Response,
        responses={200: {"description": "Counters, latencies and queues", **text}},
    )
    async def read() -> Response:
        """Counters, latencies and queues, in Prometheus' text form."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
