import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from stream.config import KafkaConfig
from tests.services.process import REPOSITORY
from tests.stream.kafka_help import until


class Worker:
    """A worker process, and what it has printed."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process, self._log = process, log

    @property
    def printed(self) -> str:
        return self._log.read_text()

    @property
    def stopped(self) -> bool:
        """Whether the kernel has stopped it (SIGSTOP)."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    async def drain(self) -> None:
        await until(lambda: "can drain" in self.printed)
        self.send(signal.SIGTERM)
        assert await asyncio.wait_for(self.process.wait(), 60) == 0, self.printed


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
        if each.process.returncode is None:
            each.process.kill()
            await each.process.wait()
