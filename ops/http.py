"""One HTTP port for machines: `/metrics`, `/healthz`, `/readyz`, and whatever else is mounted on it."""

import asyncio
from collections.abc import Callable, Iterable

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from ops.errors import InputError


class HttpServer:
    """Answers `/metrics` (Prometheus or OpenMetrics, as asked for), `/healthz` and `/readyz`.

    `/healthz` is 200 while the event loop answers at all; `/readyz` is 200 while frames are taken and 503 with the
    reason otherwise.

    Args:
        registry: what `/metrics` shows.
        readiness: None when ready, else why not.
        host, port: where to listen; port 0 takes a free one.
        routes: further routes, such as a console's.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        readiness: Callable[[], str | None],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        routes: Iterable[web.AbstractRouteDef] = (),
    ) -> None:
        self._registry = registry
        self._readiness = readiness
        self._host, self._port = host, port
        self._runner: web.AppRunner | None = None
        self.app = web.Application()
        self.app.router.add_get("/metrics", self._metrics)
        self.app.router.add_get("/healthz", self._healthz)
        self.app.router.add_get("/readyz", self._readyz)
        self.app.router.add_routes(routes)

    @property
    def port(self) -> int:
        """The port listened on."""
        if self._runner is None or not self._runner.addresses:
            return self._port
        return int(self._runner.addresses[0][1])

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::", "") else self._host  # noqa: S104 - compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises InputError where the address cannot be had."""
        runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError as error:
            await runner.cleanup()
            raise InputError(
                f"http: cannot listen on {self._host}:{self._port} ({error.strerror or error}); expected a free port "
                "(http.port) on an address of this machine (http.host)"
            ) from error
        self._runner = runner

    async def stop(self) -> None:
        """Stop listening; open connections get two seconds."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # Thousands of series take milliseconds to write out: not on the event loop.
        body = await asyncio.to_thread(encode, self._registry)
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        why_not = self._readiness()
        return web.Response(text="ready\n") if why_not is None else web.Response(text=f"{why_not}\n", status=503)
