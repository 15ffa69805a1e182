"""Workers forked from one process that has imported all they need, so that each life begins within a second or two.

`python -m tests.chaos.nursery` forks for each line on its standard input, a settings file and a log with a tab between
them, and says `started PID`, later `ended PID STATUS`. `Nursery` is its other end.
"""

import asyncio
import ctypes
import os
import select
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.crowd import Worker
from tests.services.process import REPOSITORY, dies_with_us

_PR_SET_PDEATHSIG = 1


class Forked:
    """A process that the nursery has forked: see `RunningProcess`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = asyncio.Event()
        self._status: int | None = None

    @property
    def pid(self) -> int:
        """Its number."""
        return self._pid

    @property
    def returncode(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._status

    def end(self, status: int) -> None:
        """It has ended."""
        self._status = status
        self._ended.set()

    async def wait(self) -> int:
        """Wait for its end."""
        await self._ended.wait()
        assert self._status is not None
        return self._status

    def kill(self) -> None:
        """End it without notice."""
        os.kill(self._pid, signal.SIGKILL)


class Nursery:
    """Starts workers of one settings file; none outlives the context."""

    def __init__(self, folder: Path, settings: Path) -> None:
        self._folder, self._settings = folder, settings
        self._running: dict[int, Forked] = {}
        self._waiting: asyncio.Future[Forked] | None = None
        self._lives = 0

    async def start(self) -> Worker:
        """Another worker."""
        self._lives += 1
        log = self._folder / f"life-{self._lives}.log"
        await asyncio.to_thread(log.touch)
        self._waiting = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(f"{self._settings}\t{log}\n".encode())
        await self._process.stdin.drain()
        return Worker(await asyncio.wait_for(self._waiting, 120), log)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            word, pid, *status = line.split()
            if word == b"started" and self._waiting is not None:
                self._running[int(pid)] = forked = Forked(int(pid))
                self._waiting.set_result(forked)
            elif word == b"ended":
                self._running.pop(int(pid)).end(int(status[0]))

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *dies_with_us([sys.executable, "-m", "tests.chaos.nursery"]),
            cwd=REPOSITORY,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for forked in self._running.values():
            forked.kill()
        self._process.kill()
        await self._process.wait()
        await asyncio.gather(self._reading, return_exceptions=True)


def _serve() -> tuple[str, str] | None:
    """Fork for each line; in a forked process, what it is to run. None at the end of the lines."""
    running: set[int] = set()
    while True:
        readable, _, _ = select.select([0], [], [], 0.02)
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            running.discard(pid)
            _say(f"ended {pid} {os.waitstatus_to_exitcode(status)}")
        if not readable:
            continue
        line = sys.stdin.readline()
        if not line:
            return None
        settings, log = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            return settings, log
        running.add(pid)
        _say(f"started {pid}")


def _say(line: str) -> None:
    os.write(1, line.encode() + b"\n")  # whole or not at all


def _become(log: str) -> None:
    """Die with the nursery, read nothing, and print to the log."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with Path(log).open("wb") as out, Path(os.devnull).open("rb") as nothing:
        for number in (1, 2):
            os.dup2(out.fileno(), number)
        os.dup2(nothing.fileno(), 0)


def main() -> None:
    """Import once, then serve; a forked worker ends as every process of Python does."""
    from tests.chaos import worker

    for module in worker.WARM:
        __import__(module)
    asked = _serve()
    if asked is not None:
        settings, log = asked
        _become(log)
        worker.run(settings)


if __name__ == "__main__":
    main()
