"""Workers of one group as processes: the service with a small backbone, started, watched, hurt and drained."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import yaml

from patchline.engine.bank.store import GenerationStore, save_bank
from patchline.engine.features.weights import random_backbone
from patchline.engine.fitting.fit import fit
from patchline.engine.recipe import Recipe
from tests.services.process import REPOSITORY, dies_with_us
from tests.services.worker_process import RunningProcess, WorkerProcess
from tests.stream.scripted import picture

RECIPE = "plate"
SIZE_PX = (64, 64)


class Worker(WorkerProcess):
    """The service, and what it has logged."""

    def __init__(self, process: RunningProcess, log: Path) -> None:
        super().__init__(process, log)
        self._read_bytes = 0
        self._events: dict[str, list[dict[str, Any]]] = {}

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The events of one name that it has logged so far, one JSON object a line."""
        with self.log.open("rb") as log:
            log.seek(self._read_bytes)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._read_bytes += len(line)
                if line.startswith(b"{"):
                    told = json.loads(line)
                    self._events.setdefault(str(told.get("event")), []).append(told)
        return self._events.get(event, [])

    @property
    def ready(self) -> bool:
        """Whether it has taken frames."""
        return bool(self.logged("taking frames"))

    @property
    def resident_bytes(self) -> int:
        """Its resident memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def owns(self) -> bool:
        """Whether it has partitions, as far as it knows."""
        assigned = self.logged("partitions assigned")
        return bool(assigned) and bool(assigned[-1]["partitions"])


class Crowd:
    """The workers of one settings file. None outlives the context.

    Args:
        folder: for logs and the settings file; made where it is not there.
        settings: of every worker; HTTP takes a free port, and what else they say of it.
        environment: of every worker, beside that of this process.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], environment: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environment = os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment or {})
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "patchline.yaml"
        http = {"port": 0} | settings.get("http", {})
        self._file.write_text(yaml.safe_dump(settings | {"http": http, "log": {"format": "json"}}))
        self._started = 0
        self.all: list[Worker] = []

    @property
    def running(self) -> list[Worker]:
        """Those that have not ended; one that ended in disorder, without having been killed, fails the figure."""
        for worker in self.all:
            status = worker.process.returncode
            if status not in (None, 0, -signal.SIGKILL):
                raise AssertionError(f"a worker ended with {status}:\n{worker.printed[-3000:]}")
        return [worker for worker in self.all if worker.running]

    async def start(self) -> Worker:
        """Start another worker."""
        self._started += 1
        log = self._folder / f"worker-{self._started}.log"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *dies_with_us([sys.executable, "-m", "tests.chaos.worker", str(self._file)]),
                cwd=REPOSITORY,
                env=self._environment,
                stdout=out,
                stderr=out,
            )
        self.all.append(Worker(process, log))
        return self.all[-1]

    async def start_ready(self) -> Worker:
        """Start another worker, and wait until it owns partitions."""
        worker = await self.start()
        await until(lambda: worker.owns or not worker.running, "a worker's first assignment")
        assert self.running
        return worker

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.all:
            if worker.running:
                worker.process.kill()


def small_bank(
    folder: Path,
    *,
    stages: tuple[str, ...] = ("layer1", "layer2"),
    size_px: tuple[int, int] = SIZE_PX,
    images: int = 16,
    fitted: int = 10,
) -> Path:
    """A bank of a small backbone with random weights, which can learn; as it is by default it is fitted in a second.

    Args:
        folder: it goes below.
        stages: of a ResNet-18.
        size_px: (H, W) of its images.
        images: good ones.
        fitted: so many of these are fitted; the others calibrate.

    Returns:
        Where it is.
    """
    recipe = Recipe(
        name=RECIPE,
        backbone=random_backbone("resnet18", stages=stages, seed=1),
        image_size_px=size_px,
        coreset_fraction=0.1,
        false_reject_rate=0.2,
        seed=0,
    )
    good = [(str(level), np.ascontiguousarray(picture(level, size_px))) for level in range(60, 60 + images)]
    where = folder / RECIPE
    report = fit(good[:fitted], recipe, calibration=good[fitted:], device="cpu", keep=GenerationStore(where).keep)
    save_bank(report.bank, where, calibration=report.calibration)
    return where


async def until(holds: Callable[[], bool], what: str, *, seconds: float = 240) -> None:
    """Wait for a condition, and fail, naming it, when it does not come."""
    try:
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"waited {seconds:g} s in vain for {what}") from None
