"""What is counted, in Prometheus' text format."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The figures of one service."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "msrn_requests_total", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self.seconds = Histogram(
            "msrn_restore_seconds",
            "Seconds from a picture's arrival to its result.",
            registry=registry,
            buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
        )
        self.pixels = Counter("msrn_pixels_total", "Pixels of results computed.", registry=registry)
        self.hits = Counter(
            "msrn_kept_results_total", "Requests answered by a result that was kept.", registry=registry
        )
        self.crashes = Counter("msrn_worker_crashes_total", "Workers that ended unexpectedly.", registry=registry)

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """Show a figure that is asked for whenever somebody looks."""
        Gauge(name, what, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """All figures."""
        return generate_latest(self._registry)


class Counted:
    """ASGI middleware that counts the answers of what is behind it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", "none")
                self.metrics.requests.labels(route, scope["method"], str(message["status"])).inc()
            await send(message)

        await self.app(scope, receive, noted if scope["type"] == "http" else send)
