"""The same service reading a live stream of a real RTSP server."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import traffic
from tests.e2e.service import Service
from tests.e2e.traffic import RECIPE

pytestmark = pytest.mark.timeout(900)
CAMERA = "rtsp-tiles"
PASSWORD = "hush-4711"  # noqa: S105 - of a test's own server
IN_FLIGHT = 16


async def test_service_reads_an_rtsp_stream(
    rtsp_server: Callable[..., str], redis_url: str, unique_name: Callable[[str], str], bank: Path, tiles: Path
) -> None:
    """Frames of a live stream are judged; every one received is a result or a drop by cause; the password is kept.

    A live stream cannot be replayed, so the number of frames is the server's affair: enough for a hundred results.
    """
    folder = bank.parent / "stream"
    folder.mkdir(exist_ok=True)
    for index, path in enumerate(traffic.tiles(tiles)[::3]):
        (folder / f"{index:04d}.jpg").symlink_to(path)
    address = rtsp_server(
        folder, codec="mjpeg", frames_per_s=12, size_px=(224, 224), loop=True, credentials=("viewer", PASSWORD)
    )
    results = bank.parent / "rtsp-results.jsonl"
    settings = {
        "recipes": {RECIPE: {"bank": str(bank)}},
        "cameras": {CAMERA: {"source": "rtsp", "recipe": RECIPE, "url": address}},
        "redis": {"url": redis_url, "prefix": unique_name("patchline") + ":"},
        "sinks": {"jsonl": str(results)},
        "limits": {"max_in_flight": IN_FLIGHT, "batch_size": 8},
    }
    with Service(settings) as service:
        service.run()
        deadline = asyncio.get_running_loop().time() + 180
        while counted(service, "frames_total") < 100:
            assert asyncio.get_running_loop().time() < deadline, service.log
            await asyncio.sleep(0.2)
        scraped = service.page("/metrics")
        received, delivered, dropped = (
            total(scraped, name) for name in ("frames_received_total", "frames_total", "frames_dropped_total")
        )
        assert service.terminate() == 0, service.log
        assert PASSWORD not in service.printed + scraped

    assert delivered >= 100
    assert 0 <= received - delivered - dropped <= IN_FLIGHT
    found = [json.loads(line) for line in results.read_text().splitlines()]
    assert len(found) >= delivered
    assert {r["camera"] for r in found} == {CAMERA}
    assert Counter(r["frame_id"] for r in found).most_common(1)[0][1] == 1
    # Good and defective tiles were streamed, so both verdicts come.
    assert {r["verdict"] for r in found} == {"pass", "reject"}


def counted(service: Service, name: str) -> float:
    """A counter of the service now, all its labels together."""
    return total(service.page("/metrics"), name)


def total(scraped: str, name: str) -> float:
    """The sum of a counter's samples in the text of `/metrics`."""
    return sum(float(v) for v in re.findall(rf"^patchline_{name}{{.*}} (\S+)$", scraped, re.MULTILINE))
