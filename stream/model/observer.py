"""What the stream tells those who watch it: metrics, logs, a console.

An observer never changes what happens. What acts on frames and results is a `Listener` (`ports.py`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.inspection.drift import Drift
from patchline.engine.types import Image, Inspection
from patchline.stream.model.alarm import AlarmEvent, AlarmState
from patchline.stream.model.camera_state import CameraState
from patchline.stream.model.errors import AlarmGap, DropCause, Foreign, LogBreak
from patchline.stream.model.feedback import FeedbackReply
from patchline.stream.model.frame import Frame
from patchline.stream.model.result import Result

Stage: TypeAlias = Literal["queue", "decode", "inspect", "sinks", "end_to_end"]
"""queue: from decoded to the start of its batch; decode: hash, decoding and resizing; inspect: the engine, per batch;
sinks: from judged to committed; end_to_end: from read to committed."""
StoredKind: TypeAlias = Literal["evidence", "reject", "known_defect", "usage", "calibration", "camera_references"]
"""evidence: a frame in the evidence store; reject and known_defect: a frame that updates are held against; usage: which
rows were in use on a day; calibration: what drift is measured against, and thresholds follow; camera_references: what a
camera's first hour has shown."""
Queue: TypeAlias = Literal["in_flight", "batcher", "kafka_buffer", "alarm_log"]


class Observer:
    """The hooks of the stream, all empty: a subclass overrides those it wants, and `Observer()` watches nothing.

    All are called on the event loop and must return at once; none may raise.
    """

    def ready(self, ready: bool) -> None:
        """The pipeline takes frames (True), or no longer does (False)."""

    def frame_received(self, camera: str) -> None:
        """A frame was read from its source. Frames received = results + frames dropped, at rest."""

    def frame_dropped(self, camera: str, cause: DropCause) -> None:
        """A live camera's frame will have no result. It was counted as received as well."""

    def stage_seconds(self, stage: Stage, camera: str, seconds: float) -> None:
        """A frame has spent `seconds` in a stage. `camera` is empty for `inspect`, which is timed by batch."""

    def batch_closed(self, size: int) -> None:
        """A batch of `size` frames goes to the engine."""

    def queue_depth(self, queue: Queue, depth: int) -> None:
        """How many frames wait. `alarm_log`: committed results that alarms do not yet reflect."""

    def judged(self, frame: Frame, prepared: Image | None, inspection: Inspection | None, result: Result) -> None:
        """A frame was judged, in the order of its camera, before its sinks take it.

        `prepared` is the image as the backbone saw it, RGB uint8 (H, W, 3); both it and `inspection` are None for a
        frame that was not inspected.
        """

    def result(self, result: Result) -> None:
        """Every sink has taken the result and its position is committed."""

    def consumer_lag(self, topic: str, partition: int, lag: int) -> None:
        """Records of an assigned partition not yet committed by this worker."""

    def partitions(self, topic: str, partitions: Sequence[int]) -> None:
        """The partitions this worker now owns."""

    def log_break(
        self, topic: str, partition: int, cause: LogBreak, expected: int | None, found: int, lost: int | None
    ) -> None:
        """The log of a partition is not what the remembered offset counts in.

        It was to be read from `expected` on (None: from nowhere), and is read from `found` on. So many offsets were
        `lost`: their frames will have no result. None: nobody knows how many.
        """

    def feedback_gap(
        self, topic: str, partition: int, cause: LogBreak, expected: int, found: int, lost: int | None
    ) -> None:
        """Feedback was gone before it was read: the arguments are as those of `log_break`."""

    def kafka(self, up: bool, why: str | None) -> None:
        """The brokers answer, or do not; `why` frames cannot be read from them now, None where they can."""

    def kafka_lacks(self, what: str) -> None:
        """The brokers are too old for something, which is done without."""

    def topic_setting(self, topic: str, setting: str, before: str, after: str, refused: str | None) -> None:
        """A setting of a topic was changed and all others left; or could not be, for what was `refused`."""

    def crash_found(self, topic: str, partition: int, frames: int) -> None:
        """A partition's former owner crashed: its next `frames` frames, at most, are tried one by one."""

    def camera_connected(self, camera: str, connected: bool) -> None:
        """A camera that the service opens itself is, or is no longer, delivering."""

    def camera_state(self, camera: str, state: CameraState, detail: str) -> None:
        """A camera that the service opens itself is in another state than before; `detail` is a sentence, or empty."""

    def alarm(self, event: AlarmEvent) -> None:
        """An alarm changed state, and Redis has it."""

    def alarm_state(self, camera: str, state: AlarmState | None) -> None:
        """The state of a camera's alarm as this worker found it; None: another worker tells from now on."""

    def alarm_shelved(self, camera: str, shelved: bool) -> None:
        """A camera's alarm is shelved, so that nobody is to be alerted of it, or no longer is."""

    def alarm_gap(self, cause: AlarmGap, results: int) -> None:
        """So many results will never reach the alarms."""

    def alarm_store(self, up: bool) -> None:
        """The Redis that holds alarms answers, or does not."""

    def foreign(self, what: Foreign, detail: str) -> None:
        """Something that others wrote is not what belongs there: it was passed over, or removed.

        `detail` is a sentence: what was found, where, and what was expected. What it repeats of others is short.
        """

    def retrying(self, what: str, error: BaseException, attempt: int) -> None:
        """Something was away and will be tried again; results wait, nothing is lost."""

    def frame_storage(self, storage: str, up: bool) -> None:
        """Storage that frames come from by reference, named by its prefix in the settings, answers, or does not."""

    def lanes_held(self, lanes: int) -> None:
        """So many partitions are not read now: their frames wait for storage, and others go on."""

    def evidence(self, recipe: str, outcome: str) -> None:
        """A frame was `kept` in the evidence store, `dropped` because too many wait, or its writing `failed`."""

    def drift(self, camera: str, recipe: str, drift: Drift) -> None:
        """A camera's latest frames were compared with its recipe's calibration frames."""

    def feedback(self, reply: FeedbackReply) -> None:
        """Feedback was answered by this worker."""

    def generation(self, recipe: str, bank: MemoryBank) -> None:
        """This worker judges with another generation from now on."""

    def generation_refused(self, recipe: str, number: int, error: Exception) -> None:
        """A stored generation cannot be judged with: it is damaged, foreign or not the one announced. The former one
        judges on.
        """

    def damaged_file(self, what: StoredKind, where: str, why: str) -> None:
        """A stored file that is damaged, or not ours, was passed over: it costs what it held, and nothing else."""


class Fan(Observer):
    """Tells several observers what happens, in their order.

    It finds the hooks in `Observer`: one that is added there reaches everyone.
    """

    def __init__(self, *observers: Observer) -> None:
        for hook in (name for name in vars(Observer) if not name.startswith("_")):
            told = [getattr(observer, hook) for observer in observers if _listens(observer, hook)]
            setattr(self, hook, partial(_tell, told))


def _listens(observer: Observer, hook: str) -> bool:
    """Whether it does anything when it is told: most observers leave most hooks empty."""
    return hook in vars(observer) or getattr(type(observer), hook) is not getattr(Observer, hook)


def _tell(hooks: Sequence[Callable[..., None]], *happened: Any) -> None:
    for hook in hooks:
        hook(*happened)
