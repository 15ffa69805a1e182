"""A server as a child process: started on a free port, watched until it answers, stopped and its files removed."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[2]


class ServiceUnavailableError(Exception):
    """A service cannot be had on this machine; the text says why and what would help."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether something accepts connections on 127.0.0.1:port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def find_program(name: str, debian_package: str) -> str:
    """The path of a program, or `ServiceUnavailableError` naming the Debian package that has it."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin")
    if found is None:
        raise ServiceUnavailableError(f"no {name} on this machine: install the Debian package {debian_package}")
    return found


def dies_with_us(command: Sequence[str]) -> list[str]:
    """A command whose process the kernel kills when this process dies, however it dies; where setpriv is there."""
    setpriv = shutil.which("setpriv") or "/usr/bin/setpriv"
    return [*([setpriv, "--pdeathsig", "KILL", "--"] if Path(setpriv).exists() else []), *command]


class Server:
    """One child process with a directory of its own. Leaving the context stops it and removes the directory.

    The kernel kills the child when this process dies, however it dies, so that no server outlives its tests.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = Path(tempfile.mkdtemp(prefix=f"patchline-{name}-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def printed(self) -> str:
        """All that the server printed."""
        path = self.directory / "log.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def log(self) -> str:
        """The last lines of what the server printed."""
        return "\n".join(self.printed.splitlines()[-20:])

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    def start(self, command: Sequence[str], ready: Callable[[], bool], *, timeout_s: float = 60) -> None:
        """Run `command` and wait until `ready()`.

        Raises:
            ServiceUnavailableError: it ended or was not ready within `timeout_s`; the text has the end of its log.
        """
        with (self.directory / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(
                dies_with_us(command),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.directory,
            )
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self._process.poll() is not None:
                raise ServiceUnavailableError(f"{self.name} ended with {self._process.returncode}:\n{self.log}")
            if time.monotonic() > deadline:
                self.stop()
                raise ServiceUnavailableError(f"{self.name} was not ready within {timeout_s:g} s:\n{self.log}")
            time.sleep(0.05)

    def stop(self, *, grace_s: float = 10) -> None:
        """Ask the process to end, and kill it after `grace_s`. Its directory stays, so that it can be started again."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End the process without notice, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)
