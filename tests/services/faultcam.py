"""A camera that misbehaves on request: `faultcam_server` as a process of its own."""

import json
import sys
from typing import Any

from tests.services.certificates import Certificates
from tests.services.process import REPOSITORY, Server, free_port, listens


class FaultCam(Server):
    """Cameras at `url(NAME, fault=..., fps=...)`; see `faultcam_server` for what can be asked of them."""

    def __init__(self, certificates: Certificates | None = None) -> None:
        super().__init__("faultcam")
        self.port = free_port()
        self._scheme = "rtsp" if certificates is None else "rtsps"
        self._more: list[str] = []
        if certificates is not None:
            self._more = ["--certificate", str(certificates.certificate), "--key", str(certificates.key)]
        self.start_again()

    def start_again(self) -> None:
        """Start the server; at the same address as before."""
        module = f"import sys, runpy; sys.path.insert(0, {str(REPOSITORY)!r}); sys.argv = sys.argv[1:]; "
        module += "runpy.run_module('tests.services.faultcam_server', run_name='__main__')"
        command = [
            sys.executable,
            "-c",
            module,
            "faultcam",
            str(self.port),
            "--log",
            str(self.directory / "sent.jsonl"),
        ]
        self.start([*command, *self._more], lambda: listens(self.port), timeout_s=60)

    def url(self, name: str, *, login: str = "", **options: object) -> str:
        """The address of a camera; `login` (`user:password`) is what the client gives, not what the camera wants."""
        path = "/".join([name, *(f"{key.rstrip('_')}={value}" for key, value in options.items())])
        return f"{self._scheme}://{login + '@' if login else ''}127.0.0.1:{self.port}/{path}"

    def sent(self, name: str) -> list[dict[str, Any]]:
        """What was sent of a camera: connection `conn`, picture `k`, Unix time `t`."""
        lines = (self.directory / "sent.jsonl").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["cam"] == name]
