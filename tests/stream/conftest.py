import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from patchline.stream.kafka.config import KafkaConfig
from tests.services.process import REPOSITORY
from tests.services.worker_process import WorkerProcess
from tests.stream.waiting import until


class Worker(WorkerProcess):
    """One that tells when it can drain."""

    async def drain(self) -> None:
        """See `WorkerProcess`."""
        await until(lambda: "can drain" in self.printed)
        await super().drain()


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[Worker]]]:
    """Starts workers; none outlives its test."""
    workers: list[Worker] = []

    async def started(config: KafkaConfig, **more: object) -> Worker:
        log = tmp_path / f"worker-{len(workers)}.txt"
        given = json.dumps({"config": asdict(config), **more})
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.stream.worker", given, cwd=REPOSITORY, stdout=out, stderr=out
            )
        workers.append(Worker(process, log))
        return workers[-1]

    yield started
    for each in workers:
        if each.running:
            each.process.kill()
            await each.process.wait()
