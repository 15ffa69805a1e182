"""The routes of feedback: ids as they are, identities from tokens alone, and what is said while nothing is there."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from urllib.parse import quote

import httpx
import pytest
from prometheus_client import CollectorRegistry

from patchline.ops.web.access import Tokens
from patchline.ops.web.feedback_api import ApiBackend, FeedbackApi
from patchline.ops.web.server import HttpServer
from patchline.stream.learning.inbox import LocalInbox
from patchline.stream.learning.loop import LearningLoop
from patchline.stream.model.feedback import Feedback, FeedbackOutcome, FeedbackReply, FeedbackVerdict
from patchline.stream.model.identity import Identity, Role
from tests.stream.evidence_help import evidence, store_at
from tests.stream.scripted import jpeg

TOKEN = "the-token-of-a-tablet"  # noqa: S105 - made up
GIVEN = {"recipe": "plate", "frame_id": "f", "verdict": "confirm_good", "operator": "ada"}
ODD_IDS = [
    "a",
    "line-3/000042",
    "a//b",
    "a/",
    "/a",
    "a b",
    "%",
    "a%2Fb",
    "caf\N{LATIN SMALL LETTER E WITH ACUTE}",
    "?#",
]


@asynccontextmanager
async def asking(backend: ApiBackend | None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of routes that speak to a backend."""
    api = FeedbackApi()
    api.backend = backend
    tokens = Tokens({TOKEN: Identity("tablet-1", frozenset({Role.OPERATOR}))})
    server = HttpServer(CollectorRegistry(), lambda: None, tokens=tokens, routes=api.routes())
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            yield client
    finally:
        await server.stop()


def backend_of(inbox: LocalInbox | None = None, folder: Path | None = None) -> ApiBackend:
    def no_bank(recipe: str, generation: int) -> None:
        raise AssertionError((recipe, generation))

    return ApiBackend(
        recipes=("plate",),
        loop=cast(LearningLoop, SimpleNamespace(inbox=inbox)) if inbox is not None else None,
        evidence=store_at(str(folder)) if folder is not None else None,
        bank=no_bank,  # type: ignore[arg-type] # it is never asked
        good_images={},
        max_frame_bytes=2**20,
        max_pixels=2**20,
    )


def quoted(name: str) -> str:
    """An id as a client puts it behind a prefix: slashes stay, as in the README."""
    return quote(name)


async def test_the_identity_of_feedback_follows_from_the_token() -> None:
    """It is handed in with it, an id and a time; one that the request names itself is refused."""
    inbox = LocalInbox()
    async with asking(backend_of(inbox)) as client:
        answer = await client.post("/feedback", json=GIVEN)
        assert answer.status_code == 202
        taken = await anext(inbox.feedback())
        assert taken == Feedback(
            feedback_id=answer.json()["feedback_id"],
            recipe="plate",
            frame_id="f",
            verdict=FeedbackVerdict.CONFIRM_GOOD,
            operator="ada",
            time=taken.time,
            identity="tablet-1",
        )
        assert abs((datetime.now(UTC) - taken.time).total_seconds()) < 600
        answer = await client.post("/feedback", json=GIVEN | {"identity": "kim"})
        assert (answer.status_code, answer.json()["error"]) == (
            400,
            "identity is 'kim', expected none: it follows from the token",
        )
        assert inbox._waiting.empty()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"verdict": "maybe"}, "Invalid enum value 'maybe'"),
        ({"operator": " "}, "operator is ' ', expected 1 to 1024 characters"),
        ({"who": 1}, "who"),
        ({"image_sha256": "x"}, "expected 64 hexadecimal digits"),
        ({"time": "yesterday"}, "time"),
    ],
)
async def test_what_is_no_feedback_is_told(more: dict[str, object], said: str) -> None:
    """With the field, what was found and what was expected; nothing is handed in."""
    inbox = LocalInbox()
    async with asking(backend_of(inbox)) as client:
        answer = await client.post("/feedback", json=GIVEN | more)
        assert (answer.status_code, said in answer.json()["error"]) == (400, True), answer.text
    assert inbox._waiting.empty()


@pytest.mark.parametrize("name", ODD_IDS)
async def test_ids_are_taken_as_they_are(tmp_path: Path, name: str) -> None:
    """Of replies and of frames, whatever slashes, blanks and signs they have."""
    inbox, image = LocalInbox(), jpeg(200)
    backend = backend_of(inbox, tmp_path)
    assert backend.evidence is not None
    backend.evidence.put(evidence(name, image), image)
    reply = FeedbackReply(
        feedback_id=name, recipe="plate", outcome=FeedbackOutcome.LEARNED, time=datetime(2026, 1, 1, tzinfo=UTC)
    )
    inbox._replies.keep(reply)
    async with asking(backend) as client:
        answer = await client.get(f"/feedback/{quoted(name)}")
        assert (answer.status_code, answer.json()["feedback_id"]) == (200, name)
        answer = await client.get(f"/frames/{quoted(name)}")
        assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, image, "image/jpeg")
        assert answer.headers["etag"] == f'"{evidence(name, image).sha256}"'
        assert (await client.get(f"/frames/{quoted(name)}x")).status_code == 404
        answer = await client.get(f"/frames/{quoted(name)}?map=1")
        assert (answer.status_code, answer.json()["error"]) == (404, "the frame has no map")


async def test_what_is_not_there_is_told() -> None:
    """503 while the service starts, 400 with the setting where learning or evidence is off, 404 for what is unknown."""
    async with asking(None) as client:
        for path in ("/feedback/x", "/frames/x", "/explanations/x", "/recipes/plate/preview?frame=x"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()) == (503, {"error": "starting"})
        assert (await client.post("/feedback", json=GIVEN)).status_code == 503
    async with asking(backend_of()) as client:
        assert "recipes.NAME.learns" in (await client.get("/feedback/x")).json()["error"]
        assert "evidence.url" in (await client.get("/frames/x")).json()["error"]
    async with asking(backend_of(LocalInbox())) as client:
        answer = await client.get("/feedback/x")
        assert (answer.status_code, answer.json()) == (404, {"error": "feedback 'x' has no answer, or none yet"})
        assert (await client.get("/recipes/plate/preview")).status_code == 400
        assert (await client.get("/recipes/plate/preview?frame=x&verdict=maybe")).status_code == 400
        assert (await client.get(f"/recipes/plate/preview?frame={'x' * 1025}")).status_code == 400


def test_images_of_the_fit_are_read_as_far_as_they_may_be(tmp_path: Path) -> None:
    """A file that is too large, no file, or elsewhere is not read: a picture is missing from an explanation then."""
    folder, elsewhere = tmp_path / "good", tmp_path / "elsewhere.jpg"
    folder.mkdir()
    image = jpeg(200)
    (folder / "part.jpg").write_bytes(image)
    elsewhere.write_bytes(image)
    (folder / "link.jpg").symlink_to(elsewhere)
    with (folder / "sparse.jpg").open("wb") as sparse:
        sparse.truncate(2**40)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "folder.jpg").mkdir()
    backend = replace(backend_of(), good_images={"plate": folder})
    assert FeedbackApi._good_image(backend, "plate", "part.jpg") is not None
    for name in ("link.jpg", "../elsewhere.jpg", "sparse.jpg", "pipe.jpg", "folder.jpg", "gone.jpg", "a\0b", "x" * 300):
        assert FeedbackApi._good_image(backend, "plate", name) is None
    assert FeedbackApi._good_image(backend, "plate", str(elsewhere)) is None
    assert FeedbackApi._good_image(backend, "other", "part.jpg") is None
