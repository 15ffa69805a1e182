"""The page: what is judged and why, live in a browser. It loads nothing from anywhere else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from itertools import islice
from time import monotonic
from typing import Any, TypeAlias

import msgspec
from litestar import Request, Response, get, post
from litestar.exceptions import ClientException, NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Stream

from patchline.ops.demo.board import Board, Shown
from patchline.ops.demo.picture import REJECTED, picture
from patchline.ops.demo.summary import summary
from patchline.ops.web.access import ANYONE

Tap: TypeAlias = Callable[[Shown], Awaitable[None]]
REFRESH_S = 0.25
"""Least time between two messages to a browser."""
REJECT_SHOWN_S = 3.0
"""How long the banner speaks of a reject."""
ASSETS = {"page.css": "text/css", "page.js": "text/javascript"}


class Page:
    """The page's routes: `/`, its assets, `/demo/events` (server-sent), `/demo/frames/N` and `/demo/confirm/N`.

    `heading` says what is inspected; `tap` takes what the person at the page confirms as good.
    """

    def __init__(self, board: Board, heading: str, tap: Tap | None = None):
        self._board, self._heading, self._tap = board, heading, tap

    def routes(self) -> list[HTTPRouteHandler]:
        """For `HttpServer`: whoever reaches the demo may see it, and play the operator."""
        open_to_all: dict[str, Any] = {"opt": dict(ANYONE), "include_in_schema": False}

        @get("/", **open_to_all)
        async def index() -> Response[str]:
            text = _packaged("page.html").replace("{{heading}}", self._heading)
            return Response(text, media_type="text/html")

        @get("/demo/events", **open_to_all)
        async def events() -> Stream:
            return Stream(self._events(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

        @get("/demo/summary", **open_to_all)
        async def summary_so_far() -> dict[str, Any]:
            return summary(self._board.tally, self._board.dropped)

        @post("/demo/confirm/{number:int}", status_code=202, **open_to_all)
        async def confirm(request: Request[Any, Any, Any], number: FromPath[int]) -> None:
            await self._confirm(request, number)

        @get("/demo/frames/{number:int}", **open_to_all)
        async def frame(number: FromPath[int]) -> Response[bytes]:
            return await self._frame(number)

        @get("/demo/{asset:str}", **open_to_all)
        async def packaged(asset: FromPath[str]) -> Response[str]:
            if asset not in ASSETS:
                raise NotFoundException
            return Response(_packaged(asset), media_type=ASSETS[asset])

        return [index, events, summary_so_far, confirm, frame, packaged]

    async def _frame(self, number: int) -> Response[bytes]:
        shown = self._board.find(number)
        if shown is None:
            raise NotFoundException("that frame is no longer kept")
        body = await asyncio.to_thread(picture, shown)
        return Response(body, media_type="image/jpeg", headers={"Cache-Control": "max-age=600"})

    async def _confirm(self, request: Request[Any, Any, Any], number: int) -> None:
        """The person at the page says that a rejected frame shows a good part."""
        # Another site's page may send a form, but not JSON, without asking first.
        if request.content_type[0] != "application/json":
            raise ClientException("expected content-type application/json", status_code=415)
        shown = self._board.find(number)
        if shown is None or shown.outcome not in REJECTED:
            raise NotFoundException("expected a rejected frame that is still kept")
        if self._tap is None or self._board.state != "running":
            raise ClientException("nothing is learned now", status_code=409)
        await self._tap(shown)

    async def _events(self) -> AsyncIterator[bytes]:
        async for message in self._messages():
            yield b"data: " + message + b"\n\n"

    async def _messages(self) -> AsyncIterator[bytes]:
        seen, points_seen = -1, 0
        while True:
            seen = await self._board.news(seen)
            yield msgspec.json.encode(self._message(points_seen))
            points_seen = self._board.points[-1].number if self._board.points else 0
            if self._board.state == "done":
                return
            await asyncio.sleep(REFRESH_S)

    def _message(self, points_seen: int) -> dict[str, Any]:
        board, tally = self._board, self._board.tally
        recent_reject = board.last_reject_s is not None and monotonic() - board.last_reject_s < REJECT_SHOWN_S
        return {
            "state": board.state,
            "activity": board.activity,
            "progress": round(board.progress, 3),
            "rejecting": self._card(board.last_reject) if recent_reject and board.last_reject else None,
            "summary": summary(tally, board.dropped),
            "cameras": [self._card(shown) for _, shown in sorted(board.latest.items())],
            "points": [
                {
                    "n": point.number,
                    "camera": point.camera,
                    "ratio": None if point.ratio is None else round(point.ratio, 3),
                    "outcome": point.outcome,
                }
                for point in board.points
                if point.number > points_seen
            ],
            "swaps": [{"n": swap.number, "recipe": swap.recipe, "generation": swap.generation} for swap in board.swaps],
            "gallery": [self._card(shown) for shown in islice(board.gallery, 18)],
        }

    def _card(self, shown: Shown) -> dict[str, Any]:
        return {
            "n": shown.number,
            "camera": shown.frame.camera,
            "frame_id": shown.frame.frame_id,
            "rejected": shown.outcome in REJECTED,
            "outcome": shown.outcome,
            "ratio": shown.ratio,
            "score": shown.result.score,
            "threshold": shown.result.threshold,
            "reason": shown.reason,
            "planted": shown.planted,
            "said": self._board.said.get(shown.frame.frame_id, ""),
        }


def _packaged(name: str) -> str:
    return (files("patchline.ops.demo") / name).read_text(encoding="utf-8")
