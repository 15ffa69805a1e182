"""Every image of a fit, read once before the backbone is loaded: what is wrong is told at once, and not after an hour.

The images then wait on a temporary file at the recipe's size, so that the fit does not decode them again.
"""

import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from patchline.engine.features.preprocess import prepare
from patchline.engine.fitting.groups import ImageGroups, merge_groups
from patchline.engine.fitting.scratch import ImageSpool
from patchline.engine.fitting.thumbnails import Thumbnail, grey_of, thumbnail
from patchline.engine.types import Image
from patchline.ops.errors import InputError
from patchline.ops.offline.findings import (
    SeenImage,
    refuse_fitted_calibration,
    refuse_unusable,
    tell_copies,
    tell_images,
    tell_ungrouped,
)
from patchline.ops.offline.image_files import LIMITS, load_view
from patchline.ops.offline.image_folder import ImageFolder
from patchline.ops.offline.name_groups import groups_by_name

AHEAD = 2 * LIMITS.decode_threads
"""Images that are read before their turn comes."""
MOST_NAMED = 10
"""Files that cannot be read, each with its reason, before the others are counted only."""
LookProgress = Callable[[str, int, int], None]
"""Hears the stage's name, `look`, how many images have been read, and of how many."""


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What a first look has found.

    `images` and `calibration` hold the images at the recipe's size, RGB uint8 (H, W, 3), under their names, in order;
    `groups` are the numbers of the groups of `images`, from 0, and `calibration_groups` those of `calibration`, where
    there is any; `remarks` are sentences for the one who fits.
    """

    images: ImageSpool
    calibration: ImageSpool | None
    groups: list[int]
    calibration_groups: list[int] | None
    remarks: list[str]
    seconds: float


@contextmanager
def first_look(
    good: ImageFolder,
    held_out: ImageFolder | None,
    size_px: tuple[int, int],
    *,
    pattern: str | None = None,
    scratch: Path | None = None,
    report: LookProgress | None = None,
) -> Iterator[FirstLook]:
    """Look at the images of a fit. What is found, and the temporary files, last until the context ends.

    Args:
        good: the images to learn from.
        held_out: further images, for the threshold alone.
        size_px: (H, W) of the recipe.
        pattern: a regular expression on names; images in whose names it finds the same belong to one group.
        scratch: folder for the temporary files; the system's where none is named.
        report: hears how far it is.

    Raises:
        InputError: images cannot be read, or are of no use: they are blank, use a corner of their 16 bits, or are both
            in the fit and in its calibration; the pattern is none; the temporary files do not fit on the disk.
    """
    start = time.perf_counter()
    named, ungrouped = ([], []) if pattern is None else groups_by_name(good.names, pattern)
    total = len(good.paths) + (len(held_out.paths) if held_out else 0)
    with ExitStack() as files:
        folder = Path(files.enter_context(TemporaryDirectory(prefix="patchline-look-", dir=scratch)))
        _check_room(folder, total, size_px)
        looker = _Looker(size_px, total, report)
        images = files.enter_context(ImageSpool(folder / "images", size_px))
        seen = looker.look(good, images)
        calibration, calibrating = None, list[SeenImage]()
        if held_out:
            calibration = files.enter_context(ImageSpool(folder / "calibration", size_px))
            calibrating = looker.look(held_out, calibration)
        looker.refuse_unreadable()
        refuse_unusable([*seen, *calibrating])
        alike = looker.groups.numbers()
        refuse_fitted_calibration(seen, calibrating, alike)
        groups, others = alike[: len(seen)], alike[len(seen) :]
        if pattern is not None:
            groups = merge_groups(groups, named)
            if held_out:
                others = merge_groups(others, groups_by_name(held_out.names, pattern)[0])
        remarks = [*good.remarks, *(f"--calibration: {remark}" for remark in (held_out.remarks if held_out else ()))]
        remarks += tell_images(seen, size_px)
        remarks += tell_ungrouped(ungrouped, len(seen))
        remarks += tell_copies(good.names, groups)
        seconds = time.perf_counter() - start
        yield FirstLook(images, calibration, groups, others if held_out else None, remarks, seconds)


class _Looker:
    """Reads folders of images one after the other; `groups` are of all of them: copies are found across folders."""

    def __init__(self, size_px: tuple[int, int], total: int, report: LookProgress | None) -> None:
        self.groups = ImageGroups()
        self._size_px = size_px
        self._total = total
        self._report = report
        self._done = 0
        self._flaws: list[str] = []

    def look(self, folder: ImageFolder, spool: ImageSpool) -> list[SeenImage]:
        """Read a folder's images into `spool`; what cannot be read is taken down."""
        found = []
        for name, looked in zip(folder.names, self._in_order(folder), strict=True):
            self._done += 1
            if self._report:
                self._report("look", self._done, self._total)
            if isinstance(looked, InputError):
                self._flaws.append(str(looked))
                continue
            seen, small, prepared = looked
            found.append(seen)
            self.groups.add(small)
            spool.append(name, prepared)
        return found

    def refuse_unreadable(self) -> None:
        """Raise InputError that names what could not be read, where there is any."""
        if not self._flaws:
            return
        lines = self._flaws[:MOST_NAMED]
        if len(self._flaws) > MOST_NAMED:
            lines.append(f"and {len(self._flaws) - MOST_NAMED:,} more files that cannot be read")
        lines.append(
            f"{len(self._flaws):,} of {self._total:,} images cannot be read; expected whole images: save them anew, or "
            "take them out of the folder"
        )
        raise InputError("\n".join(lines))

    def _in_order(self, folder: ImageFolder) -> Iterator["_Looked | InputError"]:
        with ThreadPoolExecutor(LIMITS.decode_threads, thread_name_prefix="look") as threads:
            pending: deque[Future[_Looked | InputError]] = deque()
            for path in folder.paths:
                pending.append(threads.submit(_look, path, self._size_px))
                if len(pending) > AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()


_Looked = tuple[SeenImage, Thumbnail, Image]


def _look(path: Path, size_px: tuple[int, int]) -> _Looked | InputError:
    try:
        image, bits = load_view(path)
    except InputError as error:
        return error
    mean, deviation = cv2.meanStdDev(grey_of(image))
    seen = SeenImage(
        path=path,
        size_px=(image.shape[0], image.shape[1]),
        bits=bits,
        brightest=int(image.max()),
        mean_grey=float(mean[0, 0]),
        contrast=float(deviation[0, 0]),
    )
    return seen, thumbnail(image), prepare(image, size_px)


def _check_room(folder: Path, images: int, size_px: tuple[int, int]) -> None:
    needed, free = images * int(np.prod(size_px)) * 3, shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder.parent}: {images:,} images of {size_px[0]} x {size_px[1]} pixels need {needed / 1e9:.3g} GB "
            f"there, {free / 1e9:.3g} GB are free; name another folder for temporary files: --scratch"
        )
