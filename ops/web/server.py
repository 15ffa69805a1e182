"""One HTTP port for machines: `/metrics`, `/healthz`, `/readyz`, `/openapi.json`, and whatever else is given to it."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import structlog
from litestar import Litestar, Request, Response, get
from litestar.enums import HttpMethod, ScopeType
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.serialization import encode_json
from litestar.types import ASGIApp, Receive, Scope, Send
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from patchline.ops.errors import InputError
from patchline.ops.web.access import ANYONE, Authenticated, Tokens, check_role, roles
from patchline.ops.web.connections import HttpLimits, Refusal, limits_of
from patchline.ops.web.listener import Listener
from patchline.stream.model.identity import Role

UNASKED = frozenset({"/healthz"})
"""What probes ask without a token."""
PROBED = frozenset({"/metrics", "/healthz", "/readyz"})
"""What may be asked by HEAD as well."""
_log = structlog.get_logger("patchline")


class HttpServer:
    """Answers `/metrics` (Prometheus or OpenMetrics, as asked for), `/healthz`, `/readyz` and `/openapi.json`.

    `/healthz` is 200 while nothing of the worker hangs, and 503 with the reason otherwise; `/readyz` is 200 while
    frames are taken, and 503 with the reason otherwise.

    Args:
        registry: what `/metrics` shows.
        readiness: None when ready, else why not.
        remark: what `/readyz` says besides where it is ready, for people; None for nothing.
        health: None while nothing hangs, else what does.
        host, port: where to listen; port 0 takes a free one.
        tls: speaks HTTPS, and nothing else, where given.
        tokens: whom every request but `/healthz` must name as `Authorization: Bearer ...`; none: nobody is asked.
        routes: further routes, such as a console's; each names its roles.
        max_body_bytes: larger requests are refused.
        limits: what connections may take.
        refused: told of each connection that is ended or turned away.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        readiness: Callable[[], str | None],
        *,
        remark: Callable[[], str | None] = lambda: None,
        health: Callable[[], str | None] = lambda: None,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        tokens: Tokens | None = None,
        routes: Sequence[HTTPRouteHandler] = (),
        max_body_bytes: int = 1024**2,
        limits: HttpLimits | None = None,
        refused: Callable[[Refusal], None] = lambda _: None,
    ) -> None:
        self._host, self._port = host, port
        self._tls = tls
        self.app = _application([*_probes(registry, readiness, remark, health), *routes], max_body_bytes)
        asgi = Authenticated(_with_head(self.app), tokens or Tokens(), UNASKED)
        self._listener = Listener(asgi, limits or limits_of(), max_body_bytes=max_body_bytes, tls=tls, refused=refused)

    @property
    def port(self) -> int:
        """The port listened on."""
        return self._listener.port or self._port

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        host = "127.0.0.1" if self._host in ("0.0.0.0", "::", "") else self._host  # noqa: S104 - compared, not bound
        scheme = "http" if self._tls is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises InputError where the address cannot be had."""
        try:
            await self._listener.start(self._host, self._port)
        except OSError as error:
            raise InputError(
                f"http: cannot listen on {self._host}:{self._port} ({error.strerror or error}); expected a free port "
                "(http.port) on an address of this machine (http.host)"
            ) from error

    async def stop(self) -> None:
        """Stop listening; open connections get two seconds."""
        await self._listener.stop()


def _application(handlers: Sequence[HTTPRouteHandler], max_body_bytes: int) -> Litestar:
    """The routes, closed to whoever has not the role that a route names."""
    return Litestar(
        [*handlers, _description(handlers)],
        guards=[check_role],
        openapi_config=None,
        exception_handlers={Exception: _in_json},
        request_max_body_size=max_body_bytes,
        logging_config=None,
    )


def _description(handlers: Sequence[HTTPRouteHandler]) -> HTTPRouteHandler:
    """The route that describes the others, as OpenAPI.

    The framework would bring pages along whose scripts lie elsewhere. A worker needs nothing of the outside world, so
    an application that is never served writes the description, and only that is answered.
    """
    described = OpenAPIConfig(
        title="Patchline",
        version=version("patchline"),
        use_handler_docstrings=True,
        components=Components(security_schemes={"token": SecurityScheme(type="http", scheme="bearer")}),
        security=[{"token": []}],
    )

    @cache
    def content() -> bytes:
        return encode_json(
            Litestar(list(handlers), openapi_config=described, logging_config=None).openapi_schema.to_schema()
        )

    @get("/openapi.json", opt=roles(Role.VIEWER, Role.METRICS), include_in_schema=False)
    async def openapi() -> Response[bytes]:
        """What can be asked here, as OpenAPI."""
        return Response(await asyncio.to_thread(content), media_type="application/vnd.oai.openapi+json")

    return openapi


def _probes(
    registry: CollectorRegistry,
    readiness: Callable[[], str | None],
    remark: Callable[[], str | None],
    health: Callable[[], str | None],
) -> list[HTTPRouteHandler]:
    @get("/metrics", opt=roles(Role.METRICS))
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Metrics, as Prometheus or OpenMetrics."""
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # Thousands of series take milliseconds to write out: not on the event loop.
        body = await asyncio.to_thread(encode, registry)
        return Response(body, headers={"content-type": content_type})

    @get("/healthz", opt=dict(ANYONE), security=[])
    async def healthz() -> Response[str]:
        """Whether nothing of the worker hangs."""
        return _said(health(), "ok")

    @get("/readyz", opt=roles(Role.METRICS, Role.VIEWER))
    async def readyz() -> Response[str]:
        """Whether frames are taken."""
        more = remark()
        return _said(readiness(), "ready" if more is None else f"ready; {more}")

    return [metrics, healthz, readyz]


def _with_head(app: ASGIApp) -> ASGIApp:
    """Answers HEAD of what is probed as GET, whose body the protocol leaves out."""

    async def asgi(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope.get("method") == HttpMethod.HEAD and scope["path"] in PROBED:
            scope = scope.copy()  # the protocol goes on by its own
            scope["method"] = HttpMethod.GET
        await app(scope, receive, send)

    return asgi


def _said(why_not: str | None, well: str) -> Response[str]:
    text, status = (well, 200) if why_not is None else (why_not, 503)
    return Response(f"{text}\n", status_code=status, media_type="text/plain")


def _in_json(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, str]]:
    """Whatever a route raises, as JSON that says what was wrong."""
    if isinstance(error, RecursionError):
        return Response({"error": "the body is nested too deep"}, status_code=400)
    if not isinstance(error, HTTPException):
        _log.error("a request failed", path=request.scope["path"][:200], exc_info=error)
        return Response({"error": "the request failed; the log says why"}, status_code=500)
    text = error.detail
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        found = [f"{one['key']}: {one['message']}" if one.get("key") else one["message"] for one in error.extra]
        text = "; ".join(found) or text
    return Response({"error": text}, status_code=error.status_code, headers=error.headers)
