"""anomalib in an environment of its own, as a process that is told by JSON lines what to do and what to time."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import torch

WORKER = Path(__file__).with_name("peer_worker.py")
PACKAGES = (
    "anomalib==2.7.0",
    f"torch=={torch.__version__.split('+')[0]}",
    "torchvision",
    "safetensors",
    "faiss-cpu",
)


class PeerError(Exception):
    """The peer's environment could not be made, or the peer failed; the text is its own."""


class Peer:
    """The worker process; `ask` sends one request and waits for the reply.

    Args:
        environment: folder of the virtual environment; made at first use.
        threads: of the peer's matrix products.
    """

    def __init__(self, environment: Path, threads: int | None = None) -> None:
        self._environment = environment
        self._threads = threads or torch.get_num_threads()
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        python = _make(self._environment)
        env = os.environ | {"OMP_NUM_THREADS": str(self._threads), "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            [str(python), str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Have the worker do something and return what it says.

        Raises:
            PeerError: the worker failed, with its traceback, or ended.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, **arguments}, default=str) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(f"the peer ended with status {self._process.wait()} when asked to {what}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise PeerError(f"the peer failed to {what}:\n{reply['error']}")
        return reply


def _make(environment: Path) -> Path:
    """Make the environment unless it is complete, and return its Python."""
    python = environment / "bin" / "python"
    done = environment / ".complete"
    wanted = "\n".join(PACKAGES)
    if done.exists() and done.read_text() == wanted:
        return python
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    environment.parent.mkdir(parents=True, exist_ok=True)
    for command in (
        [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(environment)],
        [uv, "pip", "install", "--quiet", "--python", str(python), *PACKAGES],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            raise PeerError(f"{' '.join(command)}:\n{error.stderr}") from error
    done.write_text(wanted)
    return python
