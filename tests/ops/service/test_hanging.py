"""A service whose engine or whose reading of Kafka hangs says so on `/healthz`, and while it does not, never."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from aiokafka import AIOKafkaConsumer

from patchline.engine.inspection.inspector import Inspector
from patchline.ops.service.service import Service
from patchline.ops.settings.file import load_settings
from tests.services.faultcam import FaultCam
from tests.services.process import free_port
from tests.stream.waiting import until


@pytest.fixture(autouse=True)
def _process_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that is told to stop ends its process in any case, which is that of the tests here."""
    monkeypatch.setattr("patchline.ops.service.service.end_within", lambda *_: None)


def service_of(folder: Path, bank: Path, **more: Any) -> tuple[Service, str]:
    """A service in this process, and its address."""
    port = free_port()
    settings = {
        "recipes": {"tile": {"bank": str(bank)}},
        "http": {"port": port},
        "limits": {"watchdog_s": 3, "drain_s": 5},
        **more,
    }
    file = folder / "line.yaml"
    file.write_text(yaml.safe_dump(settings))
    return Service(load_settings(file)), f"http://127.0.0.1:{port}"


async def answers(url: str, path: str) -> tuple[int, str]:
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(url + path)
            return answer.status_code, answer.text
    except httpx.HTTPError:
        return 0, ""


async def becomes(url: str, path: str, status: int) -> str:
    """The text of a page once it has a status."""
    async with asyncio.timeout(60):
        while True:
            found, text = await answers(url, path)
            if found == status:
                return text
            await asyncio.sleep(0.05)


async def test_an_engine_that_hangs_is_told_and_its_return_is(
    bank: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its metric says for how long; once it goes on, all is well, and every frame is judged."""
    gate, warm, hangs = threading.Event(), threading.Event(), threading.Event()
    begin, warm_up = Inspector.begin, Inspector.warm_up

    def held(self: Inspector, *given: Any, **named: Any) -> Any:
        if warm.is_set():
            hangs.set()
            gate.wait(120)
        return begin(self, *given, **named)

    def warmed(self: Inspector) -> None:
        warm_up(self)
        warm.set()

    monkeypatch.setattr(Inspector, "begin", held)
    monkeypatch.setattr(Inspector, "warm_up", warmed)
    results = tmp_path / "results.jsonl"
    camera = {"source": "folder", "recipe": "tile", "path": str(parts / "test"), "recursive": True}
    service, url = service_of(tmp_path, bank, cameras={"belt": camera}, sinks={"jsonl": str(results)})
    running = asyncio.create_task(service.run())
    try:
        await until(hangs.is_set)
        said = await becomes(url, "/healthz", 503)
        assert said.startswith("engine has not moved for ")
        _, metrics = await answers(url, "/metrics")
        (line,) = [line for line in metrics.splitlines() if line.startswith('patchline_task_seconds{task="engine"}')]
        assert float(line.split()[1]) > 1
    finally:
        gate.set()
    assert await running == 0
    assert len(results.read_text().splitlines()) == 8


async def test_a_reader_of_kafka_that_hangs_is_told_and_an_idle_one_is_not(
    bank: Path, tmp_path: Path, kafka: str, unique_name: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than its bound nothing comes, and it is well; then one read does not end."""
    names = ("frames_topic", "results_topic", "dead_letters_topic", "group")
    topics = {name: unique_name(name) for name in names}
    service, url = service_of(tmp_path, bank, kafka={"bootstrap": kafka, **topics})
    running = asyncio.create_task(service.run())
    try:
        await becomes(url, "/readyz", 200)
        for _ in range(50):
            assert (await answers(url, "/healthz"))[0] == 200
            await asyncio.sleep(0.1)
        getmany = AIOKafkaConsumer.getmany
        gate = asyncio.Event()

        async def held(self: AIOKafkaConsumer, *given: Any, **named: Any) -> Any:
            await gate.wait()
            return await getmany(self, *given, **named)

        monkeypatch.setattr(AIOKafkaConsumer, "getmany", held)
        assert (await becomes(url, "/healthz", 503)).startswith("consumer has not moved for ")
        gate.set()
        await becomes(url, "/healthz", 200)
    finally:
        service._told_to_stop("SIGTERM")
    assert await running == 0


async def test_cameras_that_hang_keep_no_service_from_ending(bank: Path, tmp_path: Path) -> None:
    """Sixteen that accept a connection and never answer: the service ends in order, long before they would let go."""
    with FaultCam() as hung:
        cameras = {
            f"c{n}": {
                "source": "rtsp",
                "recipe": "tile",
                "url": hung.url(f"c{n}", fault="silent"),
                "open_timeout_s": 600,
            }
            for n in range(16)
        }
        service, url = service_of(tmp_path, bank, cameras=cameras)
        running = asyncio.create_task(service.run())
        await becomes(url, "/readyz", 200)
        service._told_to_stop("SIGTERM")
        async with asyncio.timeout(60):
            assert await running == 0
