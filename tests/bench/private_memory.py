"""The peak of a process's private memory, watched from outside."""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self


class PrivateMemory:
    """Watches the private memory of a process from outside until the context is left, or the process has ended."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._status = Path(f"/proc/{pid}/status")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            try:
                status = self._status.read_text().split()
            except (FileNotFoundError, ProcessLookupError):
                return
            if "RssAnon:" not in status:  # it has ended, and its memory is gone
                return
            self.peak_bytes = max(self.peak_bytes, int(status[status.index("RssAnon:") + 1]) * 1024)
