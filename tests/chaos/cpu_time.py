"""CPU time of this process and of all that it started, in seconds."""

from time import process_time

import psutil


class CpuClock:
    """Reads it. What a child has used is known in steps of a hundredth of a second, and kept when it has ended."""

    def __init__(self) -> None:
        self._process = psutil.Process()

    def now_s(self) -> float:
        """So far: this process, children that ended, and those that run with what they waited for."""
        reaped = self._process.cpu_times()
        children_s = reaped.children_user + reaped.children_system
        for child in self._process.children(recursive=True):
            try:
                used = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            children_s += used.user + used.system + used.children_user + used.children_system
        return process_time() + children_s
