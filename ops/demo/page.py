"""The page: what is judged and why, live in a browser. It loads nothing from anywhere else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files
from itertools import islice
from time import monotonic
from typing import Any, TypeAlias

import msgspec
from aiohttp import web

from patchline.ops.demo.board import Board, Shown
from patchline.ops.demo.picture import REJECTED, picture
from patchline.ops.demo.summary import summary

Tap: TypeAlias = Callable[[Shown], Awaitable[None]]
REFRESH_S = 0.25
"""Least time between two messages to a browser."""
REJECT_SHOWN_S = 3.0
"""How long the banner speaks of a reject."""
ASSETS = {"page.css": "text/css", "page.js": "text/javascript"}


class Page:
    """Mounts the page on an aiohttp application: `/`, its assets, `/demo/events` (server-sent), `/demo/frames/N` and
    `/demo/confirm/N`.

    `heading` says what is inspected; `tap` takes what the person at the page confirms as good.
    """

    def __init__(self, board: Board, heading: str, tap: Tap | None = None):
        self._board, self._heading, self._tap = board, heading, tap

    def mount(self, app: web.Application) -> None:
        """Add the routes."""
        app.router.add_get("/", self._index)
        app.router.add_get("/demo/events", self._events)
        app.router.add_get("/demo/summary", self._summary)
        app.router.add_post(r"/demo/confirm/{number:\d+}", self._confirm)
        app.router.add_get(r"/demo/frames/{number:\d+}", self._frame)
        app.router.add_get("/demo/{asset}", self._asset)

    async def _index(self, _: web.Request) -> web.Response:
        return web.Response(text=_packaged("page.html").replace("{{heading}}", self._heading), content_type="text/html")

    async def _asset(self, request: web.Request) -> web.Response:
        name = request.match_info["asset"]
        if name not in ASSETS:
            raise web.HTTPNotFound
        return web.Response(text=_packaged(name), content_type=ASSETS[name])

    async def _summary(self, _: web.Request) -> web.Response:
        return web.json_response(body=msgspec.json.encode(summary(self._board.tally, self._board.dropped)))

    async def _frame(self, request: web.Request) -> web.Response:
        shown = self._board.find(int(request.match_info["number"]))
        if shown is None:
            raise web.HTTPNotFound(text="that frame is no longer kept")
        body = await asyncio.to_thread(picture, shown)
        return web.Response(body=body, content_type="image/jpeg", headers={"Cache-Control": "max-age=600"})

    async def _confirm(self, request: web.Request) -> web.Response:
        """The person at the page says that a rejected frame shows a good part."""
        # Another site's page may send a form, but not JSON, without asking first.
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="expected content-type application/json")
        shown = self._board.find(int(request.match_info["number"]))
        if shown is None or shown.outcome not in REJECTED:
            raise web.HTTPNotFound(text="expected a rejected frame that is still kept")
        if self._tap is None or self._board.state != "running":
            raise web.HTTPConflict(text="nothing is learned now")
        await self._tap(shown)
        return web.Response(status=202)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        try:
            async for message in self._messages():
                await response.write(b"data: " + message + b"\n\n")
        except ConnectionResetError:
            pass  # the browser went away
        return response

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
