"""Image files through the very path that frames take in the service: read, decode, prepare, inspect, decide."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import numpy as np

from patchline.engine.errors import ImageError
from patchline.engine.types import Image
from patchline.ops.errors import InputError
from patchline.stream.cameras.folder import SUFFIXES, image_files, utf8_name
from patchline.stream.decoding.image_file import bits_of, read_image, read_view
from patchline.stream.inspection.engine import Engine, Maps
from patchline.stream.model.errors import Reason, UnreadableError
from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import Limits
from patchline.stream.model.outcome import Decoded, Outcome, judged, not_inspected

CAMERA = "files"
BATCH = 8
LIMITS = Limits()
"""Those of the service: a file may have as many bytes as a frame that comes by reference, which is a file too."""


def find_images(paths: Sequence[Path], *, recursive: bool = False) -> list[Path]:
    """The image files among files and folders, folders in the order of their names.

    Raises InputError where a path is missing or gives no image.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = image_files(path, recursive=recursive)
            if not inside:
                deeper = " directly in it (--recursive looks deeper)" if not recursive else ""
                raise InputError(f"{path}: no image files{deeper}; expected {', '.join(SUFFIXES)}")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file or folder; expected images or folders of images")
    return found


def load_image(path: Path) -> Image:
    """RGB uint8 (H, W, 3) of a file, as the stream would see it; raises InputError that names the file."""
    return np.require(load_view(path)[0], requirements=("C", "W"))


def load_view(path: Path) -> tuple[Image, int]:
    """`load_image`, read-only where the file is grey (see `read_view`), and how many bits a sample has in the file."""
    try:
        payload = path.read_bytes()
        view = read_view(payload, max_bytes=LIMITS.max_referenced_bytes, max_pixels=LIMITS.max_pixels)
        return view, bits_of(payload)
    except UnreadableError as error:
        raise InputError(f"{path}: {error.detail}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def inspect_files(
    engine: Engine,
    recipe: str,
    paths: Sequence[Path],
    *,
    maps: Maps = "none",
    report: Callable[[str, int, int], None] | None = None,
) -> Iterator[tuple[Path, Outcome]]:
    """Judge files, in their order; one that cannot be read gives a `not_inspected` outcome, as in the stream.

    The next batch is decoded while the engine judges this one; memory holds two batches.

    Args:
        engine: what judges.
        recipe: name of the recipe whose bank judges.
        paths: the image files.
        maps: of which frames an anomaly map is made.
        report: hears a stage's name, how many files are done, and of how many.
    """
    batches = [paths[start : start + BATCH] for start in range(0, len(paths), BATCH)]
    done = 0
    with ThreadPoolExecutor(LIMITS.decode_threads, thread_name_prefix="decode") as threads:

        def submit(index: int) -> Iterator[tuple[Frame, Decoded | UnreadableError]]:
            return threads.map(lambda path: _decode(engine, recipe, path), batches[index])

        ahead = submit(0) if batches else iter(())
        for index, batch in enumerate(batches):
            decoded = list(ahead)
            if index + 1 < len(batches):
                ahead = submit(index + 1)
            for path, outcome in zip(batch, _judge(engine, decoded, maps), strict=True):
                done += 1
                if report:
                    report("inspect", done, len(paths))
                yield path, outcome


def _decode(engine: Engine, recipe: str, path: Path) -> tuple[Frame, Decoded | UnreadableError]:
    payload, flaw, time = b"", None, datetime.now(UTC)
    try:
        payload = path.read_bytes()
        time = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError as error:
        flaw = f"the file cannot be read: {error.strerror or error}"
    frame = Frame(
        frame_id=utf8_name(path.as_posix()),
        camera=CAMERA,
        recipe=recipe,
        time=time,
        received_s=monotonic(),
        payload=payload,
        flaw=flaw,
    )
    try:
        if flaw is not None:
            raise UnreadableError(Reason.MALFORMED_RECORD, flaw)
        image = read_image(payload, max_bytes=LIMITS.max_referenced_bytes, max_pixels=LIMITS.max_pixels)
        return frame, Decoded(engine.prepare(recipe, image), (image.shape[0], image.shape[1]))
    except ImageError as error:
        return frame, UnreadableError(Reason.UNSUPPORTED_IMAGE, str(error))
    except UnreadableError as error:
        return frame, error


def _judge(engine: Engine, frames: Sequence[tuple[Frame, Decoded | UnreadableError]], maps: Maps) -> list[Outcome]:
    readable = [(frame, decoded) for frame, decoded in frames if isinstance(decoded, Decoded)]
    inspections = iter(engine.inspect([(frame.recipe, decoded.prepared) for frame, decoded in readable], maps=maps))
    return [
        judged(frame, decoded, next(inspections), None)
        if isinstance(decoded, Decoded)
        else not_inspected(frame, decoded, None)
        for frame, decoded in frames
    ]
