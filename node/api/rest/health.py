"""Whether the daemon lives and works, for supervisors and load balancers; and its metrics."""

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from node.api.rest.access import OVERSIGHT
from node.api.rest.shapes.system import Alive
from node.api.routing import ANONYMOUS, Call, Route
from node.metrics import Metrics

METRICS = ("text/plain",)
_UNAVAILABLE = 503


class Health:
    """``/healthz``, ``/readyz``, ``/metrics``."""

    def __init__(self, metrics: Metrics, problems: Callable[[], Awaitable[list[str]]]) -> None:
        """``problems`` lists, as error codes, what keeps the node from working; it may look at the disk."""
        self._metrics = metrics
        self._problems = problems

    def routes(self) -> Iterable[Route]:
        """The routes."""
        return [
            Route("GET", "/healthz", self.alive, ANONYMOUS, "Whether the daemon answers", quiet=True, answer=Alive),
            Route(
                "GET", "/readyz", self.ready, ANONYMOUS, "Whether it can take and give images", quiet=True, answer=Alive
            ),
            Route(
                "GET",
                "/metrics",
                self.metrics,
                OVERSIGHT,
                "Metrics in the Prometheus text format",
                quiet=True,
                media=METRICS,
            ),
        ]

    async def alive(self, _call: Call) -> Alive:
        """Answering is the answer."""
        return {"status": "ok"}

    async def ready(self, _call: Call) -> object:
        """200, or 503 with the codes of what is wrong."""
        problems = await self._problems()
        if not problems:
            return {"status": "ok"}
        return web.json_response({"status": "unavailable", "problems": problems}, status=_UNAVAILABLE)

    async def metrics(self, _call: Call) -> object:
        """The registry as text."""
        return web.Response(body=self._metrics.render(), headers={"Content-Type": f"{METRICS[0]}; version=0.0.4"})
