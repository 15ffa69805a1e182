"""Options of `patchline fit` as a person writes them: sizes, tiles, shares; what is none is refused by name."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from patchline.ops.errors import InputError

if TYPE_CHECKING:
    from patchline.engine.recipe import Tiling


def check_folder_to_be(folder: Path, option: str) -> None:
    """Whether a folder can be made, or written where there is one: told before the work that would fill it.

    Raises:
        InputError: it cannot; nothing was made.
    """
    try:
        if folder.is_file():
            raise InputError(f"{option}: {folder} is a file; expected a folder, or a name for a new one")
        above = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
        if not above.is_dir():
            raise InputError(f"{option}: {folder} cannot be made: {above} is a file; expected a folder there")
        if not os.access(above, os.W_OK | os.X_OK):
            raise InputError(f"{option}: {folder}: {above} cannot be written; expected one that this user may write")
    except OSError as error:
        raise InputError(f"{option}: {folder} cannot be made: {error.strerror or error}") from error


def parse_size(text: str) -> tuple[int, int]:
    """`224` or `320x224` (H x W) as (H, W); raises InputError."""
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts) or not all(32 <= int(p) <= 4096 for p in parts):
        raise InputError(f"--size: {text!r}; expected pixels from 32 to 4096, one number or HEIGHTxWIDTH")
    return int(parts[0]), int(parts[-1])


def tiles(tile: int | None, overlap: int | None) -> "Tiling | None":
    """The tiles that were asked for; how they fit the backbone is the engine's to say."""
    from patchline.engine.recipe import Tiling

    if tile is None:
        if overlap is not None:
            raise InputError(f"--overlap: {overlap}; tiles overlap only where there are some: give --tile")
        return None
    if tile < 32:
        raise InputError(f"--tile: {tile}; expected 32 pixels or more, such as 512")
    overlap = tile // 4 if overlap is None else overlap
    if not 0 <= overlap <= tile // 2:
        raise InputError(f"--overlap: {overlap}; expected pixels from 0 to {tile // 2}, half of --tile")
    return Tiling(tile_px=tile, overlap_px=overlap)


def check_numbers(coreset: float, least_rows: int, projection: int | None, false_reject_rate: float) -> None:
    """Raise InputError where a number lies outside its range."""
    if projection is not None and projection < 1:
        raise InputError(f"--projection: {projection}; expected 1 or more dimensions, such as 128")
    if least_rows < 0:
        raise InputError(f"--least-rows: {least_rows}; expected 0 or more rows, such as 1500")
    for option, value in (("--coreset", coreset), ("--false-reject-rate", false_reject_rate)):
        if not 0 < value < 1 and not (option == "--coreset" and value == 1):
            raise InputError(f"{option}: {value:g}; expected a share above 0 and below 1, such as 0.01")
