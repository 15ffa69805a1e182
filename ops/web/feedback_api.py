"""Feedback over HTTP, for whoever has the API token: the routes beside `/metrics`.

=======  ====================================  ===================================================
POST     /feedback                             hands feedback in: 202 and its id
GET      /feedback/ID                          its answer; 404 while there is none
GET      /recipes/NAME/preview?frame=ID        what confirming the frame would do (`&verdict=...`)
GET      /frames/ID                            the image from the evidence store (`?map=1`: its map)
GET      /explanations/ID                      the worst patch beside the nearest good one
=======  ====================================  ===================================================
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import msgspec
from aiohttp import web

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.errors import PatchlineError
from patchline.engine.types import Image
from patchline.stream.decoding.image_file import read_image
from patchline.stream.evidence.explanation import explain
from patchline.stream.evidence.store import Evidence, EvidenceStore
from patchline.stream.learning.loop import LearningLoop
from patchline.stream.model.errors import FeedbackError, RecordError, StreamError, UnreadableError
from patchline.stream.model.feedback import Feedback, FeedbackVerdict
from patchline.stream.wire.feedback import parse_feedback

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiBackend:
    """What the routes speak to once the service has started.

    `bank` reads a generation of a recipe; `good_images` are the folders of the fits' images, by recipe.
    """

    recipes: tuple[str, ...]
    loop: LearningLoop | None
    evidence: EvidenceStore | None
    bank: Callable[[str, int], MemoryBank]
    good_images: Mapping[str, Path]
    max_frame_bytes: int
    max_pixels: int


class FeedbackApi:
    """The routes. Until `backend` is set they answer 503.

    Args:
        on: whether the server asks for a token; without one every route answers 403.
    """

    def __init__(self, *, on: bool) -> None:
        self._on = on
        self.backend: ApiBackend | None = None

    def routes(self) -> list[web.RouteDef]:
        """For `HttpServer`."""
        return [
            web.post("/feedback", self._guarded(self._submit)),
            web.get("/feedback/{id:.+}", self._guarded(self._reply), allow_head=False),
            web.get("/recipes/{name}/preview", self._guarded(self._preview), allow_head=False),
            web.get("/frames/{id:.+}", self._guarded(self._frame), allow_head=False),
            web.get("/explanations/{id:.+}", self._guarded(self._explanation), allow_head=False),
        ]

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            if not self._on:
                return _error(403, "this route is off; expected http.token in the settings")
            if self.backend is None:
                return _error(503, "starting")
            try:
                return await handler(request)
            except (RecordError, FeedbackError) as error:
                return _error(400, str(error))
            except StreamError as error:
                return _error(503, str(error))
            except PatchlineError as error:
                return _error(400, str(error))

        return guarded

    def _learning(self) -> LearningLoop:
        assert self.backend is not None  # noqa: S101 - `_guarded` has looked
        if self.backend.loop is None:
            raise FeedbackError("no recipe learns here; expected recipes.NAME.learns: true in the settings")
        return self.backend.loop

    async def _submit(self, request: web.Request) -> web.Response:
        loop = self._learning()
        try:
            given = msgspec.json.decode(await request.read(), type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RecordError(f"the body is no JSON object: {error}") from error
        for name, value in (("feedback_id", uuid.uuid4().hex), ("time", datetime.now(UTC))):
            given.setdefault(name, msgspec.Raw(msgspec.json.encode(value)))
        feedback = parse_feedback(msgspec.json.encode(given))
        await loop.inbox.submit(feedback)
        return _json({"feedback_id": feedback.feedback_id}, status=202)

    async def _reply(self, request: web.Request) -> web.Response:
        name = request.match_info["id"]
        reply = self._learning().inbox.reply(name)
        return _json(reply) if reply is not None else _error(404, f"feedback {name!r} has no answer, or none yet")

    async def _preview(self, request: web.Request) -> web.Response:
        frame = request.query.get("frame")
        verdict = request.query.get("verdict", FeedbackVerdict.CONFIRM_GOOD.value)
        if not frame or verdict not in tuple(FeedbackVerdict):
            raise FeedbackError(f"expected ?frame=ID, and &verdict= one of {', '.join(FeedbackVerdict)}")
        asked = Feedback(
            feedback_id=f"preview-{uuid.uuid4().hex}",
            recipe=request.match_info["name"],
            frame_id=frame,
            verdict=FeedbackVerdict(verdict),
            operator="preview",
            time=datetime.now(UTC),
        )
        return _json(await self._learning().preview(asked))

    async def _frame(self, request: web.Request) -> web.Response:
        store, evidence = await self._evidence(request.match_info["id"])
        wants_map = request.query.get("map") == "1"
        found = await asyncio.to_thread(store.map_png if wants_map else store.image, evidence)
        if found is None:
            return _error(404, "the frame has no map" if wants_map else "the frame's image is gone")
        kind = evidence.content_type if evidence.content_type.startswith("image/") else "application/octet-stream"
        headers = {"Content-Type": "image/png" if wants_map else kind, "X-Content-Type-Options": "nosniff"}
        return web.Response(body=found, headers=headers)

    async def _explanation(self, request: web.Request) -> web.Response:
        store, evidence = await self._evidence(request.match_info["id"])
        return _json(await asyncio.to_thread(self._explain, store, evidence))

    def _explain(self, store: EvidenceStore, evidence: Evidence) -> object:
        backend, result = self.backend, evidence.result
        assert backend is not None  # noqa: S101 - `_guarded` has looked
        assert result.generation is not None  # noqa: S101 - evidence is kept of judged frames
        bank = backend.bank(result.recipe, result.generation.number)
        return explain(evidence, bank, store, lambda name: self._good_image(backend, result.recipe, name))

    @staticmethod
    def _good_image(backend: ApiBackend, recipe: str, name: str) -> Image | None:
        folder = backend.good_images.get(recipe)
        if folder is None:
            return None
        path = (folder / name).resolve()
        try:
            # A name comes from a bank's file: it must not lead out of the folder.
            if not path.is_relative_to(folder.resolve()):
                return None
            return read_image(path.read_bytes(), max_bytes=backend.max_frame_bytes, max_pixels=backend.max_pixels)
        except (OSError, UnreadableError):
            return None

    async def _evidence(self, frame_id: str) -> tuple[EvidenceStore, Evidence]:
        assert self.backend is not None  # noqa: S101 - `_guarded` has looked
        store = self.backend.evidence
        if store is None:
            raise FeedbackError("no frames are kept here; expected evidence.url in the settings")
        found = await asyncio.to_thread(store.find, frame_id, self.backend.recipes)
        if found is None:
            raise web.HTTPNotFound(text=f"frame {frame_id!r} is not, or no longer, in {store.url}\n")
        return store, found


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _error(status: int, text: str) -> web.Response:
    return _json({"error": text}, status=status)
