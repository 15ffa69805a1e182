"""What can go wrong in the stream.

    PatchlineError
    └── StreamError                     not retriable, unless said
        ├── ConfigError                 a value out of range
        ├── UnreadableError             data, not a failure: the frame is not inspected, for a `Reason`
        ├── RecordError                 a record that is no CloudEvent of the expected type
        ├── SourceError                 a source cannot be opened or read
        │   └── SourceUnavailableError  and another attempt may succeed: retriable
        ├── SinkError                   a sink will never take this result
        │   ├── SinkUnavailableError    broker or Redis away, disk full: retriable
        │   ├── RecordTooLargeError     a record that Kafka does not take for its size
        │   └── LaneLostError           the lane is another worker's now: its outcomes go nowhere
        ├── EvidenceError               the evidence store cannot be read or written now: retriable
        ├── FeedbackError               feedback that cannot be applied: its frame is not to be had
        ├── StoreUnavailableError       the store of generations cannot be reached now: retriable
        ├── EngineFailedError           the engine raised on a batch
        └── AbortedError                the pipeline was told to stop without finishing

Errors of libraries are translated once, where the library is called. Whether another attempt can help is in the type.
"""

from enum import StrEnum

from patchline.engine.errors import PatchlineError

MAX_DETAIL_CHARACTERS = 2_000
"""The longest sentence in a result: it repeats what a record says, and must itself fit into one."""


class Reason(StrEnum):
    """Why a frame was not inspected: `Result.reason`."""

    EMPTY = "empty"
    """Zero bytes."""
    TOO_MANY_BYTES = "too_many_bytes"
    TOO_MANY_PIXELS = "too_many_pixels"
    """By the size in the image's header; nothing was decoded."""
    HASH_MISMATCH = "hash_mismatch"
    """The bytes are not those the producer hashed."""
    NOT_AN_IMAGE = "not_an_image"
    """No image format that is read here."""
    UNSUPPORTED_IMAGE = "unsupported_image"
    """A known format in a flavour that is not read here, or an image the recipe cannot use."""
    TRUNCATED = "truncated"
    """The image ends before its last pixel."""
    CORRUPT = "corrupt"
    """The decoder refuses the bytes."""
    TOO_SLOW = "too_slow"
    """Decoding took more time of a processor than the limits allow."""
    MALFORMED_RECORD = "malformed_record"
    """The CloudEvents headers are missing or wrong."""
    UNDECODABLE_RECORD = "undecodable_record"
    """The record itself cannot be decoded: how it is compressed, damaged or laid out. Its bytes are not to be had."""
    UNKNOWN_RECIPE = "unknown_recipe"
    REFERENCE_REFUSED = "reference_refused"
    """The frame comes by reference, and settings or storage do not let it be read."""
    REFERENCE_NOT_FOUND = "reference_not_found"
    """The frame comes by reference, and storage says that it is not there."""
    WRONG_SIZE = "wrong_size"
    """A live camera sends pictures of another size than it used to."""
    BLACK = "black"
    SATURATED = "saturated"
    FLAT = "flat"
    """The picture is black, white, or one grey."""
    FROZEN = "frozen"
    """The camera repeats one picture bit for bit although its line runs."""
    DARK = "dark"
    """The whole picture is far darker than it was in the camera's first hour."""
    MOVED = "moved"
    """The scene lies elsewhere, though parts are always in one place."""
    COVERED = "covered"
    BLURRED = "blurred"
    """Something hides what never changes in the picture; its edges are less sharp than they ever were."""
    POISON = "poison"
    """The worker crashed twice while it had this frame alone in flight, and so did a process of its own."""


class DropCause(StrEnum):
    """Why a live camera's frame never became a result."""

    SUPERSEDED = "superseded"
    """A fresher frame arrived while the engine was busy."""
    UNDECODABLE = "undecodable"
    """The video decoder gave the picture up."""
    DAMAGED = "damaged"
    """A part of it was lost on the way, or of the picture that it rests on: none is judged until the next keyframe."""
    NO_KEYFRAME = "no_keyframe"
    """It came before the first keyframe of its connection, so it rests on a picture that nobody has here."""
    TOO_MANY_PIXELS = "too_many_pixels"
    SHUTDOWN = "shutdown"
    """It was waiting when the service stopped."""
    ABORTED = "aborted"
    """It was in flight when the service was forced to stop."""


class AlarmGap(StrEnum):
    """Why results never reach the alarms."""

    EXPIRED = "expired"
    """The results topic did not keep them for long enough."""
    JOURNAL_FULL = "journal_full"
    """The journal of a service without Kafka held its bound; the oldest made room."""
    TOO_MANY_CAMERAS = "too_many_cameras"
    """Redis has alarms of as many cameras as it may have, and the result's camera is another."""


class Foreign(StrEnum):
    """What others wrote where this project reads, and what was passed over or removed because it is not ours."""

    ACKNOWLEDGEMENT = "acknowledgement"
    """A message of the acknowledgement stream in Redis, or a key of another type in the stream's place."""
    ALARM_STATE = "alarm_state"
    """The hash of a camera's alarm, or what lies in its place."""
    ALARM_POSITION = "alarm_position"
    """A log's position in Redis."""
    ALARM_EVENT = "alarm_event"
    """A message on the channel of alarm events, or a key of another type in place of their stream."""
    ALARM_CAMERA = "alarm_camera"
    """A name in the set of cameras, or a key of another type in its place."""
    RESULT = "result"
    """A record of the results topic."""
    FEEDBACK = "feedback"
    """A record of the feedback topic; it is refused by an answer as well."""
    FEEDBACK_REPLY = "feedback_reply"
    """A record of the topic of replies."""
    GENERATION = "generation"
    """A record of the generations topic, or one that announces what is not in the store."""


class LogBreak(StrEnum):
    """How the log of a partition and the offset that is remembered of it have parted ways."""

    EXPIRED = "expired"
    """The log begins later: records were deleted, by retention or by hand, before they were read."""
    TRUNCATED = "truncated"
    """The log ends earlier, or was written anew from an earlier offset on: its new leader had not the last records."""
    RECREATED = "recreated"
    """The topic was deleted and made anew."""
    PARTITION_ADDED = "partition_added"
    """The topic has a partition that it had not when the group began. Nothing is lost."""


class StreamError(PatchlineError):
    """Root of the stream's errors."""

    retriable = False
    """Whether the same call may succeed later."""


class ConfigError(StreamError):
    """A configuration value that makes no sense."""


class UnreadableError(StreamError):
    """A frame that cannot be inspected, with its reason. `str()` is a sentence: what was found, what was expected."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail[:MAX_DETAIL_CHARACTERS]
        self.sha256: str | None = None
        """The SHA-256 of the frame's bytes, in hex, where it has some."""


class RecordError(StreamError):
    """A record that is no CloudEvent of the expected type, or whose value is not what its type says."""


class SourceError(StreamError):
    """A source cannot be opened or read, and another attempt would not help."""


class SourceUnavailableError(SourceError):
    """A source cannot be reached now."""

    retriable = True


class SinkError(StreamError):
    """A sink refuses a result for good."""


class SinkUnavailableError(SinkError):
    """A sink cannot take results now."""

    retriable = True


class RecordTooLargeError(SinkError):
    """A record is larger than a topic or a broker takes; nothing was committed."""


class LaneLostError(SinkError):
    """Another worker has the lane: the outcomes of this one must not be committed, and are not."""


class EvidenceError(StreamError):
    """The evidence store cannot be read or written now."""

    retriable = True


class FeedbackError(StreamError):
    """Feedback that cannot be applied. `str()` is a sentence: what was found, what was expected."""


class StoreUnavailableError(StreamError):
    """The store of generations cannot be reached now."""

    retriable = True


class EngineFailedError(StreamError):
    """The engine raised on a batch; the engine's own error is the cause."""


class AbortedError(StreamError):
    """The pipeline stopped before the frames in flight had their results."""


def is_retriable(error: BaseException) -> bool:
    """Whether another attempt may succeed."""
    return isinstance(error, StreamError) and error.retriable
