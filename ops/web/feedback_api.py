"""Feedback over HTTP, for whoever has the API token: the routes beside `/metrics`.

=======  ====================================  ========  ==================================================
POST     /feedback                             operator  hands feedback in: 202 and its id
GET      /feedback/ID                          viewer    its answer; 404 while there is none
GET      /recipes/NAME/preview?frame=ID        viewer    what confirming the frame would do (`&verdict=...`)
GET      /frames/ID                            viewer    the image from the evidence store (`?map=1`: its map)
GET      /explanations/ID                      viewer    the worst patch beside the nearest good one
=======  ====================================  ========  ==================================================

Whose feedback it is follows from the token, whatever the request says of its operator.
"""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
from litestar import Request, Response, get, post
from litestar.exceptions import NotFoundException, ServiceUnavailableException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, FromQuery, JSONBody

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.bank.regular_file import read_regular_file
from patchline.engine.errors import BankFileError, PatchlineError
from patchline.engine.types import Image
from patchline.ops.web.access import roles
from patchline.stream.decoding.image_file import read_image
from patchline.stream.evidence.explanation import Explanation, explain
from patchline.stream.evidence.store import Evidence, EvidenceStore
from patchline.stream.learning.loop import LearningLoop
from patchline.stream.model.errors import FeedbackError, RecordError, StreamError, UnreadableError
from patchline.stream.model.feedback import Feedback, FeedbackReply, FeedbackVerdict, UpdatePreview
from patchline.stream.model.identity import Role


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


class FeedbackGiven(Feedback, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Feedback as it is handed in: without an id it gets one, without a time the present."""

    feedback_id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    time: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))


class FeedbackTaken(msgspec.Struct, frozen=True):
    """Feedback was handed in, and will be answered under this id."""

    feedback_id: str


class FeedbackApi:
    """The routes. Until `backend` is set they answer 503."""

    def __init__(self) -> None:
        self.backend: ApiBackend | None = None

    def routes(self) -> list[HTTPRouteHandler]:
        """For `HttpServer`."""
        viewer: dict[str, Any] = {"opt": roles(Role.VIEWER), "exception_handlers": _HANDLERS}
        operator: dict[str, Any] = viewer | {"opt": roles(Role.OPERATOR)}

        @post("/feedback", status_code=202, **operator)
        async def submit(request: Request[Any, Any, Any], data: JSONBody[FeedbackGiven]) -> FeedbackTaken:
            """Hand feedback in. It is learned, held or refused a little later."""
            return await self._submit(data, request.scope["user"].name)

        @get("/feedback/{feedback_id:path}", **viewer)
        async def reply(request: Request[Any, Any, Any]) -> FeedbackReply:
            """What became of feedback; 404 while nothing has."""
            return self._reply(_rest(request, "/feedback/"))

        @get("/recipes/{name:str}/preview", **viewer)
        async def preview(
            name: FromPath[str],
            frame: FromQuery[str],
            verdict: FromQuery[FeedbackVerdict] = FeedbackVerdict.CONFIRM_GOOD,
        ) -> UpdatePreview:
            """What feedback on a frame would do; nothing changes."""
            return await self._preview(name, frame, verdict)

        @get("/frames/{frame_id:path}", **viewer)
        async def frame(request: Request[Any, Any, Any], map: FromQuery[str] = "") -> Response[bytes]:
            """The image of a frame that is kept; with `map=1` its anomaly map, as PNG."""
            return await self._frame(_rest(request, "/frames/"), wants_map=map == "1")

        @get("/explanations/{frame_id:path}", **viewer)
        async def explanation(request: Request[Any, Any, Any]) -> Explanation:
            """Why a frame was judged as it was: its worst patch beside the nearest good one."""
            store, evidence = await self._evidence(_rest(request, "/explanations/"))
            return await asyncio.to_thread(self._explain, store, evidence)

        return [submit, reply, preview, frame, explanation]

    def _ready(self) -> ApiBackend:
        if self.backend is None:
            raise ServiceUnavailableException("starting")
        return self.backend

    def _learning(self) -> LearningLoop:
        loop = self._ready().loop
        if loop is None:
            raise FeedbackError("no recipe learns here; expected recipes.NAME.learns: true in the settings")
        return loop

    async def _submit(self, given: FeedbackGiven, identity: str) -> FeedbackTaken:
        loop = self._learning()
        if given.identity is not None:
            raise FeedbackError(f"identity is {given.identity!r}, expected none: it follows from the token")
        values = {name: getattr(given, name) for name in Feedback.__struct_fields__}
        await loop.inbox.submit(Feedback(**(values | {"identity": identity})))
        return FeedbackTaken(given.feedback_id)

    def _reply(self, name: str) -> FeedbackReply:
        reply = self._learning().inbox.reply(name)
        if reply is None:
            raise NotFoundException(f"feedback {name!r} has no answer, or none yet")
        return reply

    async def _preview(self, recipe: str, frame_id: str, verdict: FeedbackVerdict) -> UpdatePreview:
        loop = self._learning()
        try:
            asked = Feedback(
                feedback_id=f"preview-{uuid.uuid4().hex}",
                recipe=recipe,
                frame_id=frame_id,
                verdict=verdict,
                operator="preview",
                identity="preview",  # nobody's: what is held shows what a second person would let through
                time=datetime.now(UTC),
            )
        except ValueError as error:
            raise FeedbackError(str(error)) from error
        return await loop.preview(asked)

    async def _frame(self, frame_id: str, *, wants_map: bool) -> Response[bytes]:
        store, evidence = await self._evidence(frame_id)
        found = await asyncio.to_thread(store.map_png if wants_map else store.image, evidence)
        if found is None:
            raise NotFoundException("the frame has no map" if wants_map else "the frame's image is gone")
        kind = evidence.content_type if evidence.content_type.startswith("image/") else "application/octet-stream"
        # The tag is the hash that feedback may name, so that it cannot meet another image under the same id.
        headers = {"X-Content-Type-Options": "nosniff"} | ({} if wants_map else {"ETag": f'"{evidence.sha256}"'})
        return Response(found, media_type="image/png" if wants_map else kind, headers=headers)

    def _explain(self, store: EvidenceStore, evidence: Evidence) -> Explanation:
        backend, result = self._ready(), evidence.result
        assert result.generation is not None  # noqa: S101 - evidence is kept of judged frames
        bank = backend.bank(result.recipe, result.generation.number)
        return explain(evidence, bank, store, lambda name: self._good_image(backend, result.recipe, name))

    @staticmethod
    def _good_image(backend: ApiBackend, recipe: str, name: str) -> Image | None:
        folder = backend.good_images.get(recipe)
        if folder is None:
            return None
        try:  # a name comes from a bank's file, and others may write to the folder
            content = read_regular_file(folder, name, backend.max_frame_bytes)
            return read_image(content, max_bytes=backend.max_frame_bytes, max_pixels=backend.max_pixels)
        except (OSError, ValueError, BankFileError, UnreadableError):  # ValueError: a name with a zero byte
            return None

    async def _evidence(self, frame_id: str) -> tuple[EvidenceStore, Evidence]:
        backend = self._ready()
        store = backend.evidence
        if store is None:
            raise FeedbackError("no frames are kept here; expected evidence.url in the settings")
        found = await asyncio.to_thread(store.find, frame_id, backend.recipes)
        if found is None:
            raise NotFoundException(f"frame {frame_id!r} is not, or no longer, in {store.url}")
        return store, found


def _rest(request: Request[Any, Any, Any], prefix: str) -> str:
    """What follows the prefix in the path, as it was asked for: ids may hold and end with slashes."""
    return unquote(request.scope["raw_path"].decode("latin-1")).removeprefix(prefix)


def _answers(status: int) -> Callable[[Request[Any, Any, Any], Exception], Response[dict[str, str]]]:
    return lambda _, error: Response({"error": str(error)}, status_code=status)


_HANDLERS: dict[type[Exception], Callable[[Request[Any, Any, Any], Exception], Response[dict[str, str]]]] = {
    RecordError: _answers(400),
    FeedbackError: _answers(400),
    StreamError: _answers(503),
    PatchlineError: _answers(400),
}
