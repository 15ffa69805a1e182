"""Who may ask for what: tokens are identities with roles, and a route that names no role is closed.

`Authenticated` stands before the framework and finds out who asks, so that without a token nothing is said, not even
which routes there are. `check_role` is the guard of every route: it looks at the role that the route names.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from patchline.stream.model.identity import Identity, Role

ROLES = "roles"
"""The key of a route's `opt` that holds its roles."""
ANYONE: Mapping[str, Any] = {ROLES: frozenset()}
"""Of a route that asks for no identity: probes, and what shows nothing of a line."""
NOBODY = Identity("nobody in particular", frozenset({Role.METRICS}))
"""Who asks where no token is set: whoever reaches the port may read metrics."""
_REFUSED = b"expected the header Authorization: Bearer TOKEN with the service's http.token\n"


def roles(*names: Role) -> dict[str, Any]:
    """The `opt` of a route that asks for one of these roles."""
    return {ROLES: frozenset(names)}


class Tokens:
    """The tokens of a service, each with its identity.

    Args:
        identities: by token; none: nobody is asked for one.
    """

    def __init__(self, identities: Mapping[str, Identity] | None = None) -> None:
        self._identities = [(_digest(token.encode()), who) for token, who in (identities or {}).items()]

    def identify(self, authorization: bytes) -> Identity | None:
        """Who brings this `Authorization` header; None: nobody who is known.

        Every token is compared in full, in a time that tells nothing of how much of one was right.
        """
        if not self._identities:
            return NOBODY
        scheme, _, token = authorization.partition(b" ")
        given = _digest(token) if scheme.lower() == b"bearer" else b""
        found = None
        for digest, who in self._identities:
            if hmac.compare_digest(given, digest):
                found = who
        return found


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


class Authenticated:
    """An ASGI application that tells another who asks, as `scope["user"]`, and refuses whoever brings no token.

    Args:
        app: answers the rest.
        tokens: who is known.
        unasked: paths that probes ask for without a token.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, unasked: frozenset[str]) -> None:
        self._app, self._tokens, self._unasked = app, tokens, unasked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == ScopeType.HTTP:
            given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            who = self._tokens.identify(given)
            if who is None and scope["path"] not in self._unasked:
                await _refuse(send)
                return
            scope["user"] = who
            scope["auth"] = None
        await self._app(scope, receive, send)


def check_role(connection: "ASGIConnection[Any, Any, Any, Any]", handler: BaseRouteHandler) -> None:
    """Let a request through to its route, or refuse it: the guard of every route.

    Raises:
        PermissionDeniedException: who asks has none of the route's roles, or the route names none.
    """
    wanted: frozenset[Role] | None = handler.opt.get(ROLES)
    if wanted is None:
        raise PermissionDeniedException("this route is closed: it names no role")
    who: Identity | None = connection.scope["user"]
    if not wanted or (who is not None and who.may(wanted)):
        return
    if who is NOBODY:
        raise PermissionDeniedException("this route is off; expected http.token or http.tokens in the settings")
    named = " or ".join(sorted(wanted))
    raise PermissionDeniedException(f"{who.name if who else 'nobody'!r} may not; expected the role {named}")


async def _refuse(send: Send) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(_REFUSED)).encode()),
        (b"www-authenticate", b'Bearer realm="patchline"'),
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSED, "more_body": False})
