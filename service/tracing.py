"""Traces for an OpenTelemetry collector: a span for each request that asks something, and in it each stage's.

A trace that a client has begun goes on here, and from here to the services that are asked on the request's
behalf. Spans hold route, status, request id and the client's name, and never what was asked. What cannot be
sent is dropped. This needs the packages of the extra `otel`; nothing else does.
"""

import asyncio
from collections.abc import Iterator
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ragnarok.pipeline import Event, Reranked, Result, Retrieved
from service.context import current
from service.door import asks

EXPORT_SECONDS = 5
"""How long the collector may take for what it is sent; also what a service waits for it when it ends."""

SEND_MILLISECONDS = 1_000

_TRACE = TraceContextTextMapPropagator()


class Tracing:
    """Where spans are made, and sent from a thread of its own."""

    def __init__(self, endpoint: str, role: str) -> None:
        """Send to the collector at `endpoint` as the service `ragnarok-` and its role."""
        resource = Resource(
            {SERVICE_NAME: f"ragnarok-{role}", SERVICE_VERSION: version("ragnarok-attention")}
        )
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, schedule_delay_millis=SEND_MILLISECONDS)
        )
        self.tracer = self._provider.get_tracer("ragnarok")

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()

    def stages(self, events: Iterator[Event]) -> Iterator[Event]:
        """The same events; what is done between them is the span of a stage."""
        span = self.tracer.start_span("retrieve")
        try:
            while True:
                # Only while the pipeline works: between its events other requests may.
                with use_span(span):
                    event = next(events, None)
                if event is None:
                    return
                if isinstance(event, Retrieved | Reranked):
                    span.end()
                    span = self.tracer.start_span("rerank" if isinstance(event, Retrieved) else "answer")
                elif isinstance(event, Result):
                    span.end()
                yield event
        finally:
            if span.is_recording():
                span.end()


class Traced:
    """Makes the span of each request that asks something."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        """Stand before `app`; what was traced is sent when it ends."""
        self.app, self.tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's life."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif asks(scope):
            await self._trace(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def last(message: Message) -> None:
            if message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
                await asyncio.to_thread(self.tracing.close)
            await send(message)

        await self.app(scope, receive, last)

    async def _trace(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked, method = current(), scope["method"]
        asked.trace = _outgoing
        status = 500
        with self.tracing.tracer.start_as_current_span(
            method,
            context=_TRACE.extract(dict(Headers(scope=scope))),
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method, "ragnarok.request": asked.id},
        ) as span:

            async def noted(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            try:
                await self.app(scope, receive, noted)
            finally:
                _describe(span, getattr(scope.get("route"), "path", ""), method, status)


def _describe(span: Span, route: str, method: str, status: int) -> None:
    """What is known of a request when it has been answered."""
    if route:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if client := current().client:
        span.set_attribute("ragnarok.client", client)
    if status >= 500:
        span.set_status(StatusCode.ERROR)


def _outgoing() -> dict[str, str]:
    """The headers that let a trace go on elsewhere."""
    headers: dict[str, str] = {}
    _TRACE.inject(headers)
    return headers
