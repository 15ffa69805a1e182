"""The installed `patchline` command as a process of its own: run to its end, or started, watched and told to stop."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.services.process import Server, free_port

PATCHLINE = str(Path(sys.executable).with_name("patchline"))


def patchline(*arguments: object, timeout_s: float = 600) -> str:
    """Run a command to its end and return its standard output; a failure fails the test with what it printed."""
    command = [PATCHLINE, *(str(a) for a in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Service(Server):
    """`patchline run` with settings of its own; its HTTP port is free and known."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("run")
        self.port = free_port()
        self.settings_file = self.directory / "patchline.yaml"
        self.settings_file.write_text(yaml.safe_dump(settings | {"http": {"host": "127.0.0.1", "port": self.port}}))

    def run(self) -> None:
        """Start it and wait until it takes frames."""
        self.start([PATCHLINE, "run", str(self.settings_file)], lambda: self.status("/readyz") == 200, timeout_s=180)

    def status(self, path: str) -> int:
        """The HTTP status of a page, 0 when nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def page(self, path: str) -> str:
        """The text of a page."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def terminate(self, *, timeout_s: float = 60) -> int:
        """SIGTERM, and the exit status once it has drained."""
        process = self.process
        process.send_signal(signal.SIGTERM)
        return process.wait(timeout_s)


def json_lines(text: str) -> list[dict[str, Any]]:
    """The JSON objects of a text, one a line."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
