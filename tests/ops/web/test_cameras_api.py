"""What cameras do, over HTTP."""

from collections.abc import AsyncIterator

import httpx
import pytest
from prometheus_client import CollectorRegistry

from patchline.ops.web.access import Tokens
from patchline.ops.web.cameras_api import camera_routes
from patchline.ops.web.server import HttpServer
from patchline.stream.cameras.board import CameraBoard
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.identity import Identity, Role

VIEWER, METRICS = "the-token-of-a-viewer", "the-token-of-prometheus"


@pytest.fixture
async def asked() -> AsyncIterator[tuple[CameraBoard, httpx.AsyncClient]]:
    """A board of two cameras, and a client with a viewer's token."""
    board = CameraBoard(["b", "a"])
    tokens = Tokens(
        {
            VIEWER: Identity("screen", frozenset({Role.VIEWER})),
            METRICS: Identity("prometheus", frozenset({Role.METRICS})),
        }
    )
    server = HttpServer(CollectorRegistry(), lambda: None, tokens=tokens, routes=camera_routes(board))
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {VIEWER}"}) as client:
            yield board, client
    finally:
        await server.stop()


async def test_viewers_see_every_camera_and_others_none(asked: tuple[CameraBoard, httpx.AsyncClient]) -> None:
    """State, since when and why; one by its name; 404 for a name that is none."""
    board, client = asked
    board.camera_state("a", CameraState.DARK, "the whole picture has 40% of its usual light")
    board.frame_received("a")
    answer = await client.get("/cameras")
    assert answer.status_code == 200
    first, second = answer.json()
    assert (first["camera"], first["state"], first["alarm"]) == ("a", "dark", True)
    assert first["detail"].startswith("the whole picture")
    assert first["last_picture_age_s"] >= 0
    assert first["counts"]["received"] == 1
    assert (second["camera"], second["state"], second["alarm"]) == ("b", "connecting", False)
    assert second["last_picture_age_s"] is None
    one = await client.get("/cameras/a")
    assert one.json() | {"last_picture_age_s": 0} == first | {"last_picture_age_s": 0}
    missing = await client.get("/cameras/c")
    assert (missing.status_code, missing.json()) == (404, {"error": "this worker opens no camera 'c'"})
    for token, status in ((METRICS, 403), ("nobody's", 401)):
        refused = await client.get("/cameras", headers={"Authorization": f"Bearer {token}"})
        assert refused.status_code == status


async def test_the_routes_are_described(asked: tuple[CameraBoard, httpx.AsyncClient]) -> None:
    """With the fields of a camera, and every state by name."""
    described = (await asked[1].get("/openapi.json")).json()
    assert {"/cameras", "/cameras/{name}"} <= described["paths"].keys()
    assert "blurred" in str(described["components"])
    assert "last_picture_age_s" in str(described["components"])
