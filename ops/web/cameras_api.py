"""The cameras that the worker opens itself: the routes beside `/metrics`.

=======  ===============  ======  ==========================================================
GET      /cameras         viewer  every camera: state, since when, why, last picture, counts
GET      /cameras/NAME    viewer  one of them; 404 where there is none of that name
=======  ===============  ======  ==========================================================
"""

from typing import Any

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from patchline.ops.web.access import roles
from patchline.stream.cameras.board import CameraBoard, CameraStatus
from patchline.stream.model.identity import Role


def camera_routes(board: CameraBoard) -> list[HTTPRouteHandler]:
    """For `HttpServer`.

    Args:
        board: knows the cameras.
    """
    viewer: dict[str, Any] = {"opt": roles(Role.VIEWER)}

    @get("/cameras", **viewer)
    async def cameras() -> list[CameraStatus]:
        """What every camera that this worker opens itself is doing, in order of name."""
        return board.cameras()

    @get("/cameras/{name:str}", **viewer)
    async def camera(name: FromPath[str]) -> CameraStatus:
        """What one camera is doing."""
        found = board.camera(name)
        if found is None:
            raise NotFoundException(f"this worker opens no camera {name[:200]!r}")
        return found

    return [cameras, camera]
