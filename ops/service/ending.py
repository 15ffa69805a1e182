"""How a process ends within its time: Python by itself waits for threads that hang in a library."""

import os
import threading


def end_within(seconds: float, code: int) -> None:
    """End the process with `code` unless it has ended by itself within `seconds`; nothing more is written then."""
    timer = threading.Timer(seconds, os._exit, [code])
    timer.daemon = True
    timer.start()
