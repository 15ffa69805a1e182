"""One HTTP port for machines: `/metrics`, `/healthz`, `/readyz`, and whatever else is mounted on it."""

import asyncio
import hmac
import ssl
from collections.abc import Callable, Iterable

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from patchline.ops.errors import InputError

_OPEN = ("/healthz",)
"""What probes ask without a token."""


class HttpServer:
    """Answers `/metrics` (Prometheus or OpenMetrics, as asked for), `/healthz` and `/readyz`.

    `/healthz` is 200 while the event loop answers at all; `/readyz` is 200 while frames are taken and 503 with the
    reason otherwise.

    Args:
        registry: what `/metrics` shows.
        readiness: None when ready, else why not.
        host, port: where to listen; port 0 takes a free one.
        tls: speaks HTTPS, and nothing else, where given.
        token: what every request but `/healthz` must bring as `Authorization: Bearer ...`; None: nothing is asked.
        routes: further routes, such as a console's.
        max_body_bytes: larger requests are refused.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        readiness: Callable[[], str | None],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        token: str | None = None,
        routes: Iterable[web.AbstractRouteDef] = (),
        max_body_bytes: int = 1024**2,
    ) -> None:
        self._registry = registry
        self._readiness = readiness
        self._host, self._port = host, port
        self._tls = tls
        self._runner: web.AppRunner | None = None
        middlewares = [_asks_for(token)] if token is not None else []
        self.app = web.Application(middlewares=middlewares, client_max_size=max_body_bytes)
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
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises InputError where the address cannot be had."""
        runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, ssl_context=self._tls).start()
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


def _asks_for(token: str) -> Middleware:
    expected = f"Bearer {token}".encode()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if request.path not in _OPEN and not hmac.compare_digest(given, expected):
            raise web.HTTPUnauthorized(
                text="expected the header Authorization: Bearer TOKEN with the service's http.token\n",
                headers={"WWW-Authenticate": 'Bearer realm="patchline"'},
            )
        return await handler(request)

    return middleware
