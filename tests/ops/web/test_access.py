"""Who may ask for what: default-deny, and roles."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry

from patchline.ops.demo.board import Board
from patchline.ops.demo.page import Page
from patchline.ops.demo.tally import Tally
from patchline.ops.web.access import ANYONE, NOBODY, ROLES, Tokens
from patchline.ops.web.feedback_api import FeedbackApi
from patchline.ops.web.server import HttpServer
from patchline.stream.model.identity import Identity, Role

TOKENS = {role.value: f"the-token-of-a-{role.value}" for role in Role}


def tokens() -> Tokens:
    return Tokens({token: Identity(name, frozenset({Role(name)})) for name, token in TOKENS.items()})


def test_a_token_is_an_identity() -> None:
    """Each is found among several; anything else is nobody; without tokens everybody is, who may read metrics alone."""
    known = tokens()
    for name, token in TOKENS.items():
        who = known.identify(f"Bearer {token}".encode())
        assert who is not None
        assert who.name == name
        assert known.identify(f"bearer {token}".encode()) == who
    first = next(iter(TOKENS.values()))
    for given in (
        "",
        first,
        f"Basic {first}",
        f"Bearer {first}x",
        f"Bearer {first[:-1]}",
        "Bearer ",
        "Bearer \N{SNOWMAN}",
    ):
        assert known.identify(given.encode()) is None
    assert Tokens().identify(b"") is NOBODY
    assert not NOBODY.may((Role.VIEWER, Role.OPERATOR))


def handlers(server: HttpServer) -> list[HTTPRouteHandler]:
    """Every handler that the application has, but those that answer OPTIONS."""
    found = [handler for route in server.app.routes for handler in getattr(route, "route_handlers", ())]
    return [handler for handler in found if handler.http_methods != {"OPTIONS"}]


def test_every_route_names_its_roles() -> None:
    """A route is open to all by a decision, never because nobody thought of it."""
    page = Page(Board(Tally(), lambda _: None), "nothing").routes()
    server = HttpServer(CollectorRegistry(), lambda: None, routes=[*FeedbackApi().routes(), *page])
    named = {path: handler.opt.get(ROLES) for handler in handlers(server) for path in handler.paths}
    assert len(named) >= 15
    assert [path for path, roles in named.items() if roles is None] == []
    open_to_all = {path for path, roles in named.items() if not roles}
    assert open_to_all == {"/healthz"} | {path for path in named if path == "/" or path.startswith("/demo")}
    assert named["/feedback"] == {Role.OPERATOR}
    assert named["/metrics"] == {Role.METRICS}


async def test_a_route_that_names_no_role_is_closed() -> None:
    """Also to whoever may all else; OPTIONS of any route is, too."""

    @get("/forgotten")
    async def forgotten() -> str:
        return "secret"

    everything = Tokens({"t" * 16: Identity("all", frozenset(Role))})
    server = HttpServer(CollectorRegistry(), lambda: None, tokens=everything, routes=[forgotten])
    await server.start()
    try:
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {'t' * 16}"}) as client:
            answer = await client.get(f"{server.url}/forgotten")
            assert (answer.status_code, "names no role" in answer.json()["error"]) == (403, True)
            assert (await client.options(f"{server.url}/metrics")).status_code == 403
    finally:
        await server.stop()


OPERATORS, VIEWERS = {"operator", "engineer"}, {"viewer", "operator", "engineer"}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/metrics", {"metrics", "engineer"}),
        ("GET", "/readyz", {"metrics", *VIEWERS}),
        ("GET", "/openapi.json", {"metrics", *VIEWERS}),
        ("POST", "/feedback", OPERATORS),
        ("GET", "/feedback/x", VIEWERS),
        ("GET", "/frames/a/b", VIEWERS),
        ("GET", "/explanations/a", VIEWERS),
        ("GET", "/recipes/tile/preview?frame=a", VIEWERS),
    ],
)
async def test_each_role_opens_its_routes_and_no_other(method: str, path: str, allowed: set[str]) -> None:
    """403 and what was expected for the others, 401 without a token; what is open answers as it does while starting."""
    server = HttpServer(CollectorRegistry(), lambda: None, tokens=tokens(), routes=FeedbackApi().routes())
    await server.start()
    body = b'{"recipe": "r", "frame_id": "f", "verdict": "confirm_good", "operator": "ada"}'
    try:
        async with httpx.AsyncClient(base_url=server.url) as client:
            found = {}
            for name, token in TOKENS.items():
                headers = {"Authorization": f"Bearer {token}"}
                answer = await client.request(method, path, headers=headers, content=body if method == "POST" else None)
                found[name] = answer.status_code
                assert answer.status_code in (200, 503) or "expected the role" in answer.json()["error"]
            assert {name for name, status in found.items() if status != 403} == allowed
            assert (await client.request(method, path)).status_code == 401
    finally:
        await server.stop()


async def test_without_tokens_feedback_is_off() -> None:
    """Whoever reaches the port may read metrics; the rest says which setting opens it."""
    server = HttpServer(CollectorRegistry(), lambda: None, routes=FeedbackApi().routes())
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert [(await client.get(path)).status_code for path in ("/metrics", "/readyz", "/openapi.json")] == [
                200
            ] * 3
            answer = await client.get("/frames/a")
            assert (answer.status_code, answer.json()) == (
                403,
                {"error": "this route is off; expected http.token or http.tokens in the settings"},
            )
    finally:
        await server.stop()


async def test_the_description_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    """It is OpenAPI 3.1 of all routes but the demo's, and there is no page beside it."""
    server = HttpServer(CollectorRegistry(), lambda: None, routes=FeedbackApi().routes())
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.url) as client:
            described: dict[str, Any] = (await client.get("/openapi.json")).json()
            assert described["openapi"].startswith("3.1")
            assert {"/metrics", "/healthz", "/feedback", "/frames/{frame_id}"} <= described["paths"].keys()
            schema = described["components"]["schemas"]["FeedbackGiven"]
            assert {"recipe", "frame_id", "verdict", "operator"} <= set(schema["required"])
            assert (await client.get("/schema")).status_code == 404
            assert (await client.get("/docs")).status_code == 404
    finally:
        await server.stop()
    assert ANYONE[ROLES] == frozenset()
