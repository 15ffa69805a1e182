"""The evidence store: frames with their results and maps, by frame id, on disk or object storage (fsspec).

Under its root each frame has, in `RECIPE/reject` or `RECIPE/pass`, objects named by the SHA-256 of its id: `.image`
(the bytes as received, or PNG of a live camera's pixels), `.map.png` where there is an anomaly map, and, written last,
`.json`. What is not complete is not there, nor what is damaged or another's: it is passed over, and told. All here is
synchronous; `keeper.py` keeps it off the event loop.
"""

import hashlib
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import UTC, datetime
from time import time
from typing import Any, Literal, TypeAlias

import cv2
import fsspec
import msgspec
import numpy as np

from patchline.engine.types import AnomalyMap, Image
from patchline.stream.model.errors import EvidenceError
from patchline.stream.model.result import Result

Kind: TypeAlias = Literal["reject", "pass"]
KINDS: tuple[Kind, ...] = ("reject", "pass")
MOST_RECORD_BYTES, MOST_IMAGE_BYTES = 2**20, 2**32
MOST_CELLS, MOST_ROWS = 2**27, 2**31
BEING_WRITTEN_S = 5.0
MOST_TOLD = 1_000
"""Files that were passed over and are remembered, so that each is told once."""
_OURS = re.compile(r"/(reject|pass)/[0-9a-f]{64}\.(json|image|map\.png)$")


class Evidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of a frame beside its image: its result as first seen, and what explains it."""

    result: Result
    content_type: str
    sha256: str
    """Of the image's bytes."""
    grid: tuple[int, int]
    worst_patch: tuple[int, int]
    nearest_row: int
    """The row of `result.generation` that the worst patch was nearest to."""
    map_max: float | None = None
    """The anomaly score at white (255) in the map's PNG; None where there is no map."""


class EvidenceStore:
    """Frames by id, at a path or URL.

    Args:
        url: a folder, or an fsspec URL such as `s3://bucket/evidence`.
        keep_s: frames older than this are removed by `expire`.
        keep_bytes: the oldest beyond this are removed by `expire`; passes and rejects alike.

    Raises:
        EvidenceError: no such file system, or its package is missing.
    """

    def __init__(self, url: str, *, keep_s: float, keep_bytes: int) -> None:
        self.url = url
        self.damaged: Callable[[str, str], None] = _tell_nobody
        """Told of a file that is passed over, once: where it is, and why. On the thread that has read it."""
        self._told: dict[str, None] = {}
        self._keep_s, self._keep_bytes = keep_s, keep_bytes
        try:
            self._fs, self._root = fsspec.url_to_fs(url, auto_mkdir=True)
        except (ImportError, ValueError) as error:
            raise EvidenceError(f"evidence store {url}: {error}; expected a folder or an fsspec URL") from error

    def put(self, evidence: Evidence, image: bytes, anomaly_map: AnomalyMap | None = None) -> None:
        """Keep a frame; one of that id is replaced. The map is float32 (H, W). Raises EvidenceError."""
        kind: Kind = "reject" if evidence.result.verdict == "reject" else "pass"
        stem = self._stem(evidence.result.recipe, kind, evidence.result.frame_id)
        if anomaly_map is not None:
            highest = float(anomaly_map.max())
            grey = np.clip(anomaly_map * (255 / highest if highest > 0 else 0), 0, 255).astype(np.uint8)
            self._write(f"{stem}.map.png", encode_png(grey))
            evidence = msgspec.structs.replace(evidence, map_max=highest)
        self._write(f"{stem}.image", image)
        self._write(f"{stem}.json", msgspec.json.encode(evidence))

    def find(self, frame_id: str, recipes: Collection[str]) -> Evidence | None:
        """What is known of a frame; None where it is not, or no longer, kept. Raises EvidenceError."""
        for recipe in recipes:
            for kind in KINDS:
                found = self._load(f"{self._stem(recipe, kind, frame_id)}.json")
                if found is not None:
                    return found
        return None

    def image(self, evidence: Evidence) -> bytes | None:
        """The frame's encoded image; None where it is gone, or is not what was kept. Raises EvidenceError."""
        path = f"{self._stem_of(evidence)}.image"
        found = self._read(path, MOST_IMAGE_BYTES)
        if found is not None and hashlib.sha256(found).hexdigest() != evidence.sha256:
            self._pass_over(path, f"is not the image that was kept, whose SHA-256 is {evidence.sha256}")
            return None
        return found

    def map_png(self, evidence: Evidence) -> bytes | None:
        """The anomaly map as an 8-bit grey PNG, `map_max` at 255. Raises EvidenceError."""
        path = f"{self._stem_of(evidence)}.map.png"
        return self._read(path, MOST_IMAGE_BYTES) if evidence.map_max is not None else None

    def recent_rejects(self, recipe: str, count: int) -> list[Evidence]:
        """The newest rejects of a recipe, oldest first. Raises EvidenceError."""
        listed = [(at, path) for path, at, _ in self._list(f"{recipe}/reject") if path.endswith(".json")]
        found = [self._load(path) for _, path in sorted(listed)[-count:]]
        return [evidence for evidence in found if evidence is not None]

    def expire(self) -> int:
        """Remove what is too old or too much; how many frames went. Raises EvidenceError."""
        frames: dict[str, tuple[float, int, list[str]]] = {}
        for path, at, size in self._list(""):
            folder, _, name = path.rpartition("/")
            stem = f"{folder}/{name.partition('.')[0]}"
            since, total, paths = frames.get(stem, (at, 0, []))
            frames[stem] = (max(since, at), total + size, [*paths, path])
        left = sum(size for _, size, _ in frames.values())
        gone = 0
        # What alone is more than all may be goes first: it must not take the others with it.
        for at, size, paths in sorted(frames.values(), key=lambda frame: (frame[1] <= self._keep_bytes, frame)):
            if at >= time() - self._keep_s and left <= self._keep_bytes:
                break
            for path in sorted(paths, key=lambda name: not name.endswith(".json")):  # what says it is there goes first
                self._remove(path)
            left -= size
            gone += 1
        return gone

    def _stem_of(self, evidence: Evidence) -> str:
        kind: Kind = "reject" if evidence.result.verdict == "reject" else "pass"
        return self._stem(evidence.result.recipe, kind, evidence.result.frame_id)

    def _stem(self, recipe: str, kind: Kind, frame_id: str) -> str:
        return f"{self._root}/{recipe}/{kind}/{hashlib.sha256(frame_id.encode()).hexdigest()}"

    def _load(self, path: str) -> Evidence | None:
        found = self._read(path, MOST_RECORD_BYTES)
        if found is None:
            return None
        try:
            evidence = msgspec.json.decode(found, type=Evidence)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if not self._being_written(path):
                self._pass_over(path, f"is no evidence, or not all of it: {error}")
            return None
        if why := self._flaw(evidence, path):
            self._pass_over(path, why)
            return None
        return evidence

    def _flaw(self, evidence: Evidence, path: str) -> str | None:
        """What evidence says that none does, or None: other programs may write to the store as well."""
        result, grid, patch = evidence.result, evidence.grid, evidence.worst_patch
        name = self._stem_of(evidence).removeprefix(self._root)
        if not path.endswith(f"{name}.json"):
            whose = f"frame {result.frame_id[:200]!r} of recipe {result.recipe[:200]!r}"
            return f"is of {whose}, expected the one that it is named by"
        if result.generation is None or result.score is None or result.threshold is None:
            return "is of a frame that was not judged"
        if not all(0 <= cell < cells <= MOST_CELLS for cell, cells in zip(patch, grid, strict=True)):
            return f"has its worst patch outside its grid of 1 to {MOST_CELLS} cells a side"
        if not 0 <= evidence.nearest_row < MOST_ROWS:
            return f"names no row, expected 0 to {MOST_ROWS - 1}"
        if evidence.map_max is not None and not evidence.map_max >= 0:
            return f"has a map up to {evidence.map_max}, expected 0 or more"
        return None

    def _being_written(self, path: str) -> bool:
        """Whether a file may not be written to its end yet."""
        try:
            return time() - _written(self._fs.info(path)) < BEING_WRITTEN_S
        except OSError:
            return True

    def _pass_over(self, path: str, why: str) -> None:
        if path in self._told:
            return
        if len(self._told) >= MOST_TOLD:
            del self._told[next(iter(self._told))]
        self._told[path] = None
        self.damaged(path, why)

    def _read(self, path: str, most_bytes: int) -> bytes | None:
        """The content of a file of so many bytes at most; nothing of a larger one, of a pipe or of a device."""
        try:
            known = self._fs.info(path)
            size = int(known.get("size") or 0)
            if known["type"] == "directory":
                return None
            if known["type"] != "file" or size > most_bytes:
                self._pass_over(
                    path, f"is no file of {most_bytes:,} bytes at most, but {known['type']}, {size:,} bytes"
                )
                return None
            found: bytes = self._fs.cat_file(path, start=0, end=size) if size else b""
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(error) from error
        return found

    def _write(self, path: str, value: bytes) -> None:
        try:
            self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._fs.pipe_file(path, value)
        except OSError as error:
            raise self._error(error) from error

    def _remove(self, path: str) -> None:
        try:
            with suppress(FileNotFoundError):  # another worker was first
                self._fs.rm_file(path)
        except OSError as error:
            raise self._error(error) from error

    def _list(self, folder: str) -> list[tuple[str, float, int]]:
        """Path, time of writing in seconds and size of every object under a folder."""
        where = f"{self._root}/{folder}".rstrip("/")
        try:
            self._fs.invalidate_cache(where)
            found: dict[str, dict[str, Any]] = self._fs.find(where, detail=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._error(error) from error
        # Whatever else lies there is not ours to count or to remove.
        return [
            (path, _written(info), int(info.get("size") or 0)) for path, info in found.items() if _OURS.search(path)
        ]

    def _error(self, error: OSError) -> EvidenceError:
        return EvidenceError(f"evidence store {self.url}: {error}")


def _tell_nobody(where: str, why: str) -> None:
    """Until a keeper listens."""


def encode_png(image: Image) -> bytes:
    """PNG of RGB uint8 (H, W, 3) or grey uint8 (H, W), without loss."""
    ok, encoded = cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)
    if not ok:
        raise EvidenceError(f"an image of {image.shape} cannot be written as PNG")
    return encoded.tobytes()


def _written(info: dict[str, Any]) -> float:
    """When an object was written, but not later than now: one dated ahead would be the newest, and kept, for years."""
    return min(_dated(info), time())


def _dated(info: dict[str, Any]) -> float:
    """The time of an object; each file system has a name of its own for it."""
    for name in ("mtime", "LastModified", "last_modified", "updated", "created"):
        found = info.get(name)
        if isinstance(found, datetime):
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
        if isinstance(found, int | float):
            return float(found)
    return time()
