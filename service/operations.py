"""What a team needs to run the service: an id for every request, counters, and one log line for each.

The log names route, status, time and client, and never what was asked. Knows HTTP and the desk; nothing of
what routes do.
"""

import json
import logging
import time

from fastapi import FastAPI, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.cache import Cache
from service.context import REQUEST_ID, Asked, begin
from service.desk import Desk
from service.keys import KeyCheck, read_keys
from service.metrics import Metrics
from service.problems import problem_of
from service.settings import Settings

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that are asked for all the time: counted, and not logged."""

LOGGER = "uvicorn.error.requests"

_log = logging.getLogger(LOGGER)


class Observed:
    """Gives every request an id, counts it, and logs it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, log_format: str) -> None:
        """Stand before `app`; `log_format` is text or json."""
        self.app, self.metrics, self.as_json = app, metrics, log_format == "json"

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
            await problem_of(error).response()(scope, receive, named)
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
        if self.as_json:
            _log.info("%s", json.dumps(record))
        else:
            _log.info("%s", " ".join(f"{name}={value}" for name, value in record.items()))


def _batching(desk: Desk) -> dict[str, float]:
    """How requests share the re-ranker's passes, if late mode re-ranks here."""
    if not desk.ready or "rerank" not in desk.settings.stages_here():
        return {}
    # Not at the top: it loads torch, which a gateway does without.
    from ragnarok.rerankers import LateAttentionReranker

    reranker = desk.parts.reranker
    if not isinstance(reranker, LateAttentionReranker):
        return {}
    stats = reranker.batcher.stats()
    return {
        "batch_requests": stats.requests,
        "batches": stats.batches,
        "batch_largest": stats.largest,
        "batch_waiting": stats.waiting,
    }


def install(app: FastAPI, settings: Settings, desk: Desk, cache: Cache) -> None:
    """Observe every request of `app`, ask for keys if there are any, and serve `/metrics`.

    Raises `BadSetting`.
    """

    def levels() -> dict[str, float]:
        return {"ready": float(desk.ready), "waiting": float(desk.waiting), **_batching(desk)}

    # Its lines hold whole addresses, and with them questions; one line a request is enough.
    logging.getLogger("uvicorn.access").disabled = True
    metrics = Metrics(levels)
    cache.told = lambda kind, outcome: metrics.cache.labels(kind, outcome).inc()
    desk.timed = lambda stage, seconds: metrics.stages.labels(stage).observe(seconds)
    if settings.api_keys is not None:
        app.add_middleware(KeyCheck, keys=read_keys(settings.api_keys))
    app.add_middleware(Observed, metrics=metrics, log_format=settings.log_format)

    @app.get("/metrics", summary="What was counted, for Prometheus", response_class=Response)
    async def read() -> Response:
        """Counters, latencies and queues, in Prometheus' text form."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
