"""What worker and other process tell each other at a trial: the pipe and the process are scripted."""

import hashlib
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from patchline.stream.model.errors import Reason, UnreadableError
from patchline.stream.model.frame import Frame
from patchline.stream.model.limits import Limits
from patchline.stream.pipeline.isolated_trial import IsolatedTrial, _how, _try
from tests.stream.scripted import ScriptedEngine, frame, jpeg

SUSPECT = replace(frame("f1", jpeg(50)), crashes=2)


class Pipe:
    """One end: what comes is scripted; "silent" is silence, an error is raised."""

    def __init__(self, *comes: Any) -> None:
        self.comes = deque(comes)
        self.sent: list[Any] = []
        self.waited_s: list[float] = []
        self.closed = False

    def poll(self, seconds: float) -> bool:
        self.waited_s.append(seconds)
        return bool(self.comes[0] != "silent")

    def recv(self) -> Any:
        found = self.comes.popleft()
        if isinstance(found, Exception):
            raise found
        return found

    def send(self, what: Any) -> None:
        self.sent.append(what)

    def close(self) -> None:
        self.closed = True


class Process:
    """A process that only notes what is done with it."""

    pid: int | None = None
    exitcode: int | None = None

    def __init__(self, **made_with: Any) -> None:
        self.made_with = made_with
        self.log: list[str] = []
        self.starts = True

    def start(self) -> None:
        if not self.starts:
            raise OSError("no more processes")
        self.pid = 7
        self.log.append("start")

    def join(self) -> None:
        self.log.append("join")
        self.exitcode = -9

    def kill(self) -> None:
        self.log.append("kill")


class Spawning:
    """The context that makes processes."""

    def __init__(self, *comes: Any) -> None:
        self.ours, self.theirs, self.process = Pipe(*comes), Pipe(), Process()

    def Pipe(self) -> tuple[Pipe, Pipe]:  # noqa: N802 - as `multiprocessing` has it
        return self.ours, self.theirs

    def Process(self, **made_with: Any) -> Process:  # noqa: N802 - as `multiprocessing` has it
        self.process.made_with = made_with
        return self.process


Trial = Callable[[Spawning], IsolatedTrial]


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A trial whose other process is scripted."""

    def made(spawning: Spawning) -> IsolatedTrial:
        def context(method: str) -> Spawning:
            assert method == "spawn"
            return spawning

        monkeypatch.setattr(multiprocessing, "get_context", context)
        return IsolatedTrial(Limits(), lambda _: ScriptedEngine(), check=lambda _: None, start_s=3, judge_s=2)

    return made


async def test_what_the_other_process_found_is_the_frames(trial: Trial) -> None:
    """It is given the frame once it is ready, has so long for each, and is ended afterwards."""
    spawning = Spawning("ready", ("judged", "decoded", "inspection"))
    found: object = await trial(spawning).judge(SUSPECT, b"bytes")
    assert found == ("decoded", "inspection")
    assert spawning.ours.sent == [(SUSPECT, b"bytes")]
    assert spawning.ours.waited_s == [3, 2]
    assert spawning.process.log == ["start", "kill", "join"]
    assert spawning.ours.closed
    assert spawning.theirs.closed
    assert spawning.process.made_with["daemon"] is True
    assert spawning.process.made_with["args"][2:] == ("plate", Limits(), "none")


@pytest.mark.parametrize(
    ("comes", "reason", "detail", "log"),
    [
        (("silent",), Reason.POISON, "took more than 3 s getting ready for it", ["start", "kill", "join"]),
        (("ready", "silent"), Reason.POISON, "took more than 2 s trying it", ["start", "kill", "join"]),
        (
            (EOFError(),),
            Reason.POISON,
            r"died getting ready for it \(SIGKILL\)",
            ["start", "join", "kill", "join"],
        ),
        (("ready", OSError()), Reason.POISON, r"died trying it \(SIGKILL\)", ["start", "join", "kill", "join"]),
        (("ready", ("failed", "E: x")), Reason.POISON, "the engine failed: E: x", ["start", "kill", "join"]),
        (("ready", ("unreadable", Reason.CORRUPT, "bad")), Reason.CORRUPT, "^bad", ["start", "kill", "join"]),
    ],
)
async def test_what_ends_a_trial_is_said_of_the_frame(
    trial: Trial, comes: tuple[Any, ...], reason: Reason, detail: str, log: list[str]
) -> None:
    """With the hash of its bytes; the process is always ended."""
    spawning = Spawning(*comes)
    with pytest.raises(UnreadableError, match=detail) as caught:
        await trial(spawning).judge(SUSPECT, b"bytes")
    assert caught.value.reason is reason
    assert caught.value.sha256 == hashlib.sha256(b"bytes").hexdigest()
    assert spawning.process.log == log
    assert spawning.ours.closed


async def test_a_process_that_cannot_be_started_is_not_ended(trial: Trial) -> None:
    """The error is the worker's."""
    spawning = Spawning()
    spawning.process.starts = False
    with pytest.raises(OSError, match="no more processes"):
        await trial(spawning).judge(SUSPECT, b"bytes")
    assert spawning.process.log == []
    assert spawning.ours.closed


async def test_all_but_the_image_is_looked_at_first() -> None:
    """A frame with a flaw of its own is not tried; where nothing can try it, it is poison."""

    def check(frame: Frame) -> None:
        raise UnreadableError(Reason.UNKNOWN_RECIPE, "which?")

    with pytest.raises(UnreadableError, match="which") as caught:
        await IsolatedTrial(Limits(), None, check=check).judge(SUSPECT, b"bytes")
    assert caught.value.sha256 == hashlib.sha256(b"bytes").hexdigest()
    by_default = IsolatedTrial(Limits(), None, check=lambda _: None)
    assert (by_default._start_s, by_default._judge_s) == (300.0, 120.0)
    with pytest.raises(UnreadableError, match=r"crashed 2 times while it had this frame alone in flight$"):
        await by_default.judge(SUSPECT, b"bytes")


@pytest.fixture
def interrupts() -> Iterator[None]:
    """How this process takes SIGINT is as before afterwards."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_the_other_process_warms_up_says_so_and_answers() -> None:
    """An interrupt is meant for the worker, so it does not listen."""
    engine = ScriptedEngine()
    pipe = Pipe((SUSPECT, SUSPECT.payload))
    _try(cast(Any, pipe), lambda _: engine, "plate", Limits(), "none")
    ready, (kind, decoded, inspection) = pipe.sent
    assert (ready, kind, engine.warm) == ("ready", "judged", True)
    assert decoded.prepared.mean() == pytest.approx(inspection.score)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.usefixtures("interrupts")
def test_the_other_process_says_what_is_wrong() -> None:
    """With the frame, or with the engine."""
    pipe = Pipe((SUSPECT, b"no image"))
    _try(cast(Any, pipe), lambda _: ScriptedEngine(), "plate", Limits(), "none")
    assert pipe.sent[1][:2] == ("unreadable", Reason.NOT_AN_IMAGE)
    pipe = Pipe((SUSPECT, SUSPECT.payload))
    _try(cast(Any, pipe), lambda _: ScriptedEngine(fail_on=1), "plate", Limits(), "none")
    assert pipe.sent == ["ready", ("failed", "RuntimeError: scripted failure")]


def test_how_a_process_ended() -> None:
    """By a signal, which is named, or by itself."""
    assert [_how(status) for status in (None, 0, 3, -9, -1)] == [
        "exit status None",
        "exit status 0",
        "exit status 3",
        "SIGKILL",
        "SIGHUP",
    ]
