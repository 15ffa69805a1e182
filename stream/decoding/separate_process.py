"""Decodes what looks unusual in a process that can be killed, and is, once it has computed for too long.

One process is started when it is first needed, by a fresh interpreter: a fork of the worker would take its threads'
locks over. It reads an image, forks, and the child decodes under a timer of the processor's time, whose end the kernel
enforces wherever the child is, and under a bound on its memory. So an image costs a fork, and only itself.

Both sides speak JSON and plain bytes. The child has read a hostile file: nothing that it says is unpickled.
"""

import io
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from time import process_time

import msgspec
import numpy as np

from patchline.engine.types import Image
from patchline.stream.decoding.allowance import more_s, too_slow
from patchline.stream.decoding.image_file import UnusualImageError, read_view
from patchline.stream.decoding.structure import Structure
from patchline.stream.model.errors import Reason, UnreadableError

WALL_S = 120.0
"""An answer that takes longer, on the clock on the wall, never comes."""
_SPARE_BYTES = 512 * 2**20
_NICENESS = 5
"""What looks unusual waits for ordinary frames where cores are short, and is not starved."""
_PIXEL_BYTES = 24
"""What decoders hold of a pixel at most: coefficients, Pillow's image, and what is made of it."""


class _Task(msgspec.Struct, frozen=True, kw_only=True):
    """`name` and `flavour` tell what ordinary images to compare the image with."""

    name: str
    flavour: str
    max_bytes: int
    max_pixels: int
    decode_s: float


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`shape` of the pixels that follow, grey ones with two numbers; or why there are none."""

    shape: tuple[int, ...] | None = None
    reason: Reason | None = None
    detail: str = ""
    killed_by: int | None = None
    most_s: float = 0.0


class SeparateProcess:
    """Decodes one image at a time elsewhere.

    Args:
        decode_s: seconds of a processor that any image may take.
        wall_s: how long an answer may take.
    """

    def __init__(self, decode_s: float, *, wall_s: float = WALL_S) -> None:
        self._decode_s, self._wall_s = decode_s, wall_s
        self._one_at_a_time = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._closed = False

    def read_view(self, image: UnusualImageError, *, max_bytes: int, max_pixels: int) -> Image:
        """Decode what `image_file.read_view` found unusual.

        Args:
            image: what it raised.
            max_bytes: more is refused unread.
            max_pixels: more is refused undecoded.

        Raises:
            UnreadableError: as of `image_file.read_view`; TOO_SLOW; CORRUPT where the process died of it.
        """
        task = _Task(
            name=image.name,
            flavour=image.structure.flavour,
            max_bytes=max_bytes,
            max_pixels=max_pixels,
            decode_s=self._decode_s,
        )
        with self._one_at_a_time:
            answer, pixels = self._ask(task, image.structure.payload)
        if answer.reason is not None:
            raise UnreadableError(answer.reason, answer.detail)
        if answer.killed_by == signal.SIGPROF:
            raise too_slow(answer.most_s)
        if answer.shape is None or pixels is None:
            how = signal.Signals(answer.killed_by).name if answer.killed_by else "without a word"
            raise UnreadableError(Reason.CORRUPT, f"a process of its own died of decoding the image ({how})")
        view = np.frombuffer(pixels, np.uint8).reshape(answer.shape)
        return np.broadcast_to(view[:, :, None], (*answer.shape, 3)) if len(answer.shape) == 2 else view

    def _ask(self, task: _Task, payload: bytes) -> tuple[_Answer, bytes | None]:
        for _ in range(2):
            pipe, process = self._running()
            timer = threading.Timer(self._wall_s, _end, [process])
            timer.daemon = True
            timer.start()
            try:
                pipe.send_bytes(msgspec.json.encode(task))
                pipe.send_bytes(payload)
                answer = msgspec.json.decode(pipe.recv_bytes(2**16), type=_Answer)
                pixels = pipe.recv_bytes(task.max_pixels * 3) if answer.shape is not None else None
                return answer, pixels
            except (OSError, EOFError, msgspec.DecodeError):
                # It was killed, and not by the image, which can end a child of it only. A second time it may have been.
                self._end()
                if timer.finished.is_set():
                    break
            finally:
                timer.cancel()
        return _Answer(), None

    def _running(self) -> tuple[Connection, subprocess.Popen[bytes]]:
        if self._pipe is not None and self._process is not None and self._process.poll() is None:
            return self._pipe, self._process
        self._end()
        if self._closed:
            raise UnreadableError(Reason.CORRUPT, "the stream is closed")
        self._pipe, theirs = Pipe()
        descriptor = theirs.fileno()
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a module of this package
            # Neither the current folder nor what an image makes Pillow warn of is wanted.
            [sys.executable, "-P", "-W", "ignore", "-m", "patchline.stream.decoding.separate_process", str(descriptor)],
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # so that it ends with its child, and only when the worker says so
        )
        theirs.close()
        return self._pipe, self._process

    def _end(self) -> None:
        if self._process is not None:
            _end(self._process)
            self._process.wait()
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()

    def close(self) -> None:
        """End the process, whatever it does."""
        self._closed = True
        if self._process is not None:
            _end(self._process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and the child that decodes: the pipe ends when both are gone."""
    if process.returncode is None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


class _ProcessClock:
    """Has the kernel end this process once it has computed for too long."""

    def __init__(self, decode_s: float) -> None:
        self._decode_s = decode_s
        self._began_s = process_time()
        self._end_at(decode_s)

    def _end_at(self, most_s: float) -> None:
        signal.setitimer(signal.ITIMER_PROF, max(0.001, most_s - (process_time() - self._began_s)))

    def file(self, payload: bytes) -> io.BytesIO:
        return io.BytesIO(payload)

    def known(self, name: str, flavour: str, pixels: int, grey: bool) -> None:
        before_s = process_time()
        more = more_s(name, flavour, pixels, grey)
        self._began_s += process_time() - before_s
        self._end_at(self._decode_s + more)


def _serve(pipe: Connection) -> None:
    """Answer until the worker is gone."""
    while True:
        try:
            task = msgspec.json.decode(pipe.recv_bytes(2**16), type=_Task)
            payload = pipe.recv_bytes(task.max_bytes)
        except (EOFError, OSError):
            return
        for grey in (False, True):  # measured once, and not again by every child
            more_s(task.name, task.flavour, 0, grey)
        child = os.fork()
        if child == 0:
            try:
                _answer(pipe, task, payload)
                os._exit(0)
            finally:
                os._exit(1)
        del payload
        _, status = os.waitpid(child, 0)
        if status != 0:
            killed_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
            pipe.send_bytes(msgspec.json.encode(_Answer(killed_by=killed_by, most_s=task.decode_s)))


def _answer(pipe: Connection, task: _Task, payload: bytes) -> None:
    """What the child does."""
    _bound_memory(len(payload), task.max_pixels)
    pixels: Image | None = None
    try:
        pixels = read_view(
            payload,
            max_bytes=task.max_bytes,
            max_pixels=task.max_pixels,
            clock=_ProcessClock(task.decode_s),
            structure=Structure(payload, flavour=task.flavour),
        )
        if pixels.strides[2] == 0:
            pixels = pixels[:, :, 0]
        pixels = np.ascontiguousarray(pixels)
        answer = _Answer(shape=pixels.shape)
    except UnreadableError as error:
        answer = _Answer(reason=error.reason, detail=error.detail)
    except MemoryError:
        answer = _Answer(reason=Reason.CORRUPT, detail="decoding takes far more memory than the image's pixels do")
    signal.setitimer(signal.ITIMER_PROF, 0)
    pipe.send_bytes(msgspec.json.encode(answer))
    if pixels is not None:
        pipe.send_bytes(pixels.data.cast("B"))


def _bound_memory(size_bytes: int, max_pixels: int) -> None:
    if sys.platform != "linux":
        return
    import resource

    now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    most = now + _SPARE_BYTES + 4 * size_bytes + _PIXEL_BYTES * max_pixels
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    os.nice(_NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the worker, whose end ends this process
    _serve(Connection(int(sys.argv[1])))
