"""The other side in a process of its own, which is told by JSON lines what to do and what to time.

anomalib has an environment of its own; FAISS is the product's, in our own interpreter, with kernels of its own.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch

from tests.bench.loaded import Loaded

REPOSITORY = Path(__file__).resolve().parents[2]


class PeerError(Exception):
    """The peer's environment could not be made, or the peer failed; the text is its own."""


class Peer:
    """The worker process; `ask` sends one request and waits for the reply.

    Args:
        python: the interpreter of the peer's environment.
        threads: of the peer's matrix products.
        variables: of the process's environment, beside those that there are.
    """

    def __init__(self, python: Path, threads: int | None = None, variables: Mapping[str, str] | None = None) -> None:
        self._python = python
        self._threads = threads or torch.get_num_threads()
        self._variables = dict(variables or {})
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        env = os.environ | {"OMP_NUM_THREADS": str(self._threads), "PYTHONWARNINGS": "ignore"} | self._variables
        self._process = subprocess.Popen(
            [str(self._python), "-m", "tests.bench.peer_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
            cwd=REPOSITORY,
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

    def loaded(self) -> Loaded:
        """What the process has loaded by now."""
        found: Loaded = self.ask("hello")["loaded"]
        return found


def anomalib_python(environment: Path) -> Path:
    """The interpreter of anomalib's environment, a folder, which is made unless it is complete."""
    python = environment / "bin" / "python"
    done = environment / ".complete"
    packages = _packages()
    wanted = "\n".join(packages)
    if done.exists() and done.read_text() == wanted:
        return python
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    environment.parent.mkdir(parents=True, exist_ok=True)
    for command in (
        [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(environment)],
        [uv, "pip", "install", "--quiet", "--python", str(python), *packages],
    ):
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except subprocess.CalledProcessError as error:
            raise PeerError(f"{' '.join(command)}:\n{error.stderr}") from error
    done.write_text(wanted)
    return python


def _packages() -> tuple[str, ...]:
    """What anomalib's environment holds: what both sides have is of one version."""
    constraints = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    ours = dict(re.findall(r"^([\w.-]+)==(\S+)$", constraints, re.MULTILINE))
    alike = (f"{name}=={ours[name]}" for name in ("faiss-cpu", "openvino", "threadpoolctl"))
    return (
        "anomalib==2.7.0",
        f"torch=={torch.__version__.split('+')[0]}",
        "torchvision",
        "safetensors",
        "onnx",
        "onnxscript",
        *alike,
    )
