"""What the service counts, in Prometheus' form: one registry an application, read at `/metrics`.

Knows what is counted and what it is called; nothing of how requests are served.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the latency histograms."""

REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PASSAGES = (0, 1, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Upper bounds of the histograms of batches."""

Levels = Callable[[], Mapping[str, float]]


class Metrics:
    """The counters of one application."""

    def __init__(self, levels: Levels, totals: Levels = dict) -> None:
        """`levels` gives what is read off at the moment of asking, such as how many requests wait.

        `totals` gives what others have counted so far.
        """
        self._registry = CollectorRegistry()
        self.requests = self._counter(
            "requests", "Requests answered, by route and status.", "method", "route", "status"
        )
        self.seconds = self._histogram(
            "request_seconds",
            "From a request's arrival to the end of its answer, by route.",
            SECONDS,
            "route",
        )
        self.stages = self._histogram(
            "stage_seconds",
            "How long each stage of a question took: retrieve, rerank, answer.",
            SECONDS,
            "stage",
        )
        self.cache = self._counter(
            "cache", "Requests by what their cache had: hit, miss, or off.", "kind", "outcome"
        )
        self.queue = self._histogram(
            "queue_seconds", "How long what was asked waited before it was begun.", SECONDS
        )
        self.words = self._counter(
            "words", "Words of questions and of the answers written to them, kept ones left out.", "kind"
        )
        self.tokens = self._counter("tokens", "Tokens that models ran, by kind.", "kind")
        self.batch_requests = self._histogram(
            "rerank_batch_requests", "Requests that each pass of late attention took.", REQUESTS
        )
        self.batch_texts = self._histogram(
            "rerank_batch_passages", "Passages that each of these passes scored.", PASSAGES
        )
        self.batch_read = self._histogram(
            "rerank_batch_read_passages",
            "Passages of each of these passes that no store held, so that the model read them.",
            PASSAGES,
        )
        self.refused = self._counter(
            "refused", "Requests refused or ended by a limit: rate, at_once, body, request, stream.", "why"
        )
        self.in_flight = Gauge(
            "ragnarok_requests_in_flight", "Requests being answered.", registry=self._registry
        )
        self._registry.register(_Levels(levels, totals))

    def text(self) -> bytes:
        """Everything counted, in Prometheus' text form."""
        return generate_latest(self._registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"ragnarok_{name}", meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, bounds: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"ragnarok_{name}", meaning, labels, buckets=bounds, registry=self._registry)


class _Levels(Collector):
    """Numbers that are asked for when they are wanted."""

    def __init__(self, levels: Levels, totals: Levels) -> None:
        self._levels, self._totals = levels, totals

    def collect(self) -> Iterable[Metric]:
        """One gauge or counter for each number."""
        for name, value in self._levels().items():
            yield GaugeMetricFamily(f"ragnarok_{name}", LEVELS[name], value=value)
        for name, value in self._totals().items():
            yield CounterMetricFamily(f"ragnarok_{name}", TOTALS[name], value=value)


LEVELS = {
    "ready": "1 once the indexes and models are open and warm.",
    "redis_up": "1 while the Redis of answers and limits serves.",
    "waiting": "Requests that wait behind those being worked on.",
    "rerank_batch_waiting": "Requests that wait for late attention's next pass.",
}
"""What `levels` may give, and what each is."""

TOTALS = {"redis_errors": "Exchanges with that Redis that failed."}
"""What `totals` may give, and what each is."""
