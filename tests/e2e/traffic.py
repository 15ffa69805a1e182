"""What a line sends: tiles from three cameras and unreadable frames among them, as records written by hand.

The headers are spelled out here, not taken from `stream/`: a producer in another language would do the same.
"""

import hashlib
import random
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiokafka import AIOKafkaProducer

CAMERAS = ("tiles-left", "tiles-middle", "tiles-right")
RECIPE = "tile"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One record of the frames topic. `path` is the tile's file; `reason` is what an unreadable frame must yield."""

    frame_id: str
    camera: str
    value: bytes
    content_type: str = "image/jpeg"
    recipe: str = RECIPE
    sha256: str | None = None
    path: Path | None = None
    reason: str | None = None

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """CloudEvents, Kafka binary mode."""
        fields = {
            "ce_specversion": "1.0",
            "ce_type": "io.patchline.frame.v1",
            "ce_id": self.frame_id,
            "ce_source": self.camera,
            "ce_time": datetime.now(UTC).isoformat(),
            "ce_recipe": self.recipe,
            "content-type": self.content_type,
        }
        if self.sha256 is not None:
            fields["ce_sha256"] = self.sha256
        return [(name, value.encode()) for name, value in fields.items()]


def tiles(folder: Path) -> list[Path]:
    """All test tiles of a folder in MVTec's layout, good and defective."""
    return sorted(folder.glob("test/*/*.jpg"))


def frames(paths: Sequence[Path], root: Path, *, seed: int) -> list[Sent]:
    """The tiles in drawn order, from the three cameras in turn, as the files' own bytes; every other one hashed."""
    order = list(paths)
    random.Random(seed).shuffle(order)
    sent = []
    for index, path in enumerate(order):
        value = path.read_bytes()
        sent.append(
            Sent(
                frame_id=str(path.relative_to(root)),
                camera=CAMERAS[index % len(CAMERAS)],
                value=value,
                sha256=hashlib.sha256(value).hexdigest() if index % 2 else None,
                path=path,
            )
        )
    return sent


def unreadable(jpeg: bytes) -> list[Sent]:
    """Twenty frames that cannot be inspected, each with the reason that must be given."""
    hashed = hashlib.sha256(jpeg).hexdigest()
    flipped = [bytes([*jpeg[:at], jpeg[at] ^ 0x10, *jpeg[at + 1 :]]) for at in _inside(jpeg, 4)]
    kinds: list[tuple[str, str, bytes, str | None]] = [
        *(("truncated", "image/jpeg", jpeg[:end], None) for end in _inside(jpeg, 4)),
        ("truncated", "image/png", _png(64, 64)[:-30], None),
        *(("empty", "image/jpeg", b"", None) for _ in range(3)),
        ("not_an_image", "text/plain", b"conveyor stopped\n", None),
        ("not_an_image", "text/html", b"<html><body>503 Service Unavailable</body></html>", None),
        ("not_an_image", "application/json", b'{"error": "camera offline"}', None),
        ("not_an_image", "image/jpeg", bytes(4096), None),
        *(("too_many_pixels", "image/png", _png_header(60_000, side), None) for side in (60_000, 50_000, 40_000)),
        *(("hash_mismatch", "image/jpeg", value, hashed) for value in flipped),
    ]
    sent = [
        Sent(
            frame_id=f"unreadable-{index:02d}-{reason}",
            camera=CAMERAS[index % len(CAMERAS)],
            value=value,
            content_type=content_type,
            sha256=sha256,
            reason=reason,
        )
        for index, (reason, content_type, value, sha256) in enumerate(kinds)
    ]
    stranger = Sent(
        frame_id="unreadable-19-recipe", camera=CAMERAS[0], value=jpeg, recipe="bottle", reason="unknown_recipe"
    )
    return [*sent, stranger]


def mixed(good: Sequence[Sent], bad: Sequence[Sent]) -> list[Sent]:
    """The unreadable frames spread evenly among the others."""
    every, result = len(good) // len(bad), list(good)
    for index, frame in enumerate(bad):
        result.insert(index * (every + 1) + every // 2, frame)
    return result


async def produce(bootstrap: str, topic: str, sent: Iterable[Sent], *, partition: int | None = None) -> None:
    """Write the records, keyed by camera, each camera's in order; to one partition where one is named."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, max_request_size=40 * 2**20) as producer:
        waiting = [
            await producer.send(
                topic, key=frame.camera.encode(), value=frame.value, headers=frame.headers, partition=partition
            )
            for frame in sent
        ]
        for delivered in waiting:
            await delivered


def _inside(data: bytes, count: int) -> list[int]:
    """`count` places spread over the second half of the data, where a JPEG of this size holds pixels."""
    return [len(data) // 2 + (len(data) // 2 - 64) * i // count for i in range(count)]


def _png_header(height: int, width: int) -> bytes:
    """A PNG that claims a size, and a little compressed data: a decompression bomb's beginning."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(3 * width + 1)))


def _png(height: int, width: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    noise = random.Random(0)
    rows = b"".join(b"\x00" + noise.randbytes(3 * width) for _ in range(height))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
