"""A worker as a process of asyncio's: sent signals, and drained."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Protocol


class RunningProcess(Protocol):
    """What is needed of a process: one of asyncio's has it."""

    @property
    def pid(self) -> int:
        """Its number."""

    @property
    def returncode(self) -> int | None:
        """Its exit status; None while it runs."""

    async def wait(self) -> int:
        """Wait for its end."""

    def kill(self) -> None:
        """End it without notice."""


class WorkerProcess:
    """A process that drains on SIGTERM.

    Args:
        process: it.
        log: the file that it prints to.
    """

    def __init__(self, process: RunningProcess, log: Path) -> None:
        self.process, self.log = process, log

    @property
    def printed(self) -> str:
        """What it has printed so far."""
        return self.log.read_text()

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.returncode is None

    @property
    def stopped(self) -> bool:
        """Whether the kernel has stopped it (SIGSTOP)."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def send(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.process.pid, number)

    async def drain(self) -> None:
        """SIGTERM, and its orderly end."""
        self.send(signal.SIGTERM)
        status = await asyncio.wait_for(self.process.wait(), 120)
        assert status == 0, f"{self.log} ended with {status}:\n{self.printed[-3000:]}"
