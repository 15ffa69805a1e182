"""Limits in front of the web framework: how many connections there are, and how long each may keep the server waiting.

A connection that waits for its peer costs a descriptor and nothing else, so any number of them may knock: beyond the
limit the one that has waited longest makes room, idle ones first. Only where every connection is being answered is a
newcomer turned away. A probe that comes while thousands idle is thus answered as if it were alone. nginx reuses
connections in this way.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from patchline.ops.settings.process import HttpSettings

LEAST_RATE_BYTES = 8192
"""An answer that waits to be taken must shrink by so many bytes a second, or by half of it, or it is given up."""


class Refusal(StrEnum):
    """Why a connection was ended or turned away."""

    FULL = "full"
    """All connections are being answered."""
    MADE_ROOM = "made_room"
    """It waited for its peer for longest when another one came."""
    HANDSHAKE = "handshake"
    """TLS was not agreed upon in time, or not at all."""
    HEAD = "head"
    """The head of a request did not come in time."""
    BODY = "body"
    """The body of a request did not come in time."""
    ANSWER = "answer"
    """The answer was not taken in time."""
    DESCRIPTORS = "descriptors"
    """The process has no descriptor left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What connections may take. Times are in seconds."""

    max_connections: int
    max_head_bytes: int
    handshake_timeout_s: float
    head_timeout_s: float
    body_timeout_s: float
    answer_timeout_s: float
    keep_alive_s: float


def limits_of(http: HttpSettings | None = None) -> HttpLimits:
    """The limits of the settings; by default those of settings that say nothing."""
    http = http or HttpSettings()
    return HttpLimits(
        max_connections=http.max_connections,
        max_head_bytes=http.max_head_bytes,
        handshake_timeout_s=http.handshake_timeout_s,
        head_timeout_s=http.head_timeout_s,
        body_timeout_s=http.body_timeout_s,
        answer_timeout_s=http.answer_timeout_s,
        keep_alive_s=http.keep_alive_s,
    )


class Phase(StrEnum):
    """What a connection does."""

    HANDSHAKE = "handshake"
    """TLS is being agreed upon."""
    HEAD = "head"
    """The head of a request is awaited: the first, or a later one of which a part is there."""
    BODY = "body"
    """The body of a request is awaited."""
    ANSWER = "answer"
    """The request is being answered."""
    IDLE = "idle"
    """An answer was given, and nothing of a next request has come."""
    CLOSING = "closing"
    """It ends when its peer has taken what is on the way."""


class Connection:
    """One connection, from its acceptance to its end.

    Args:
        phase: what it begins with.
        now: the monotonic clock, in seconds.
        abort: ends it at once.
    """

    def __init__(self, phase: Phase, now: float, abort: Callable[[], object]) -> None:
        self.phase = phase
        self.abort = abort
        self.waiting_bytes: Callable[[], int] = int
        """How much of the answer is not yet with the peer's kernel."""
        self.waits_for_peer = True
        """Whether only the peer can go on; False while an answer is being made."""
        self._since_s = now
        self._mark_bytes, self._mark_s = 0, now

    @property
    def since_s(self) -> float:
        """When its phase began, by the monotonic clock."""
        return self._since_s

    def enter(self, phase: Phase, now: float) -> None:
        """Note what it does now; bytes that come one by one begin no phase anew."""
        if phase is not self.phase:
            self.phase, self._since_s = phase, now

    def overdue(self, limits: HttpLimits, now: float) -> Refusal | None:
        """The limit that it has passed, or None."""
        took_s = now - self._since_s
        match self.phase:
            case Phase.HANDSHAKE:
                return Refusal.HANDSHAKE if took_s > limits.handshake_timeout_s else None
            case Phase.HEAD:
                return Refusal.HEAD if took_s > limits.head_timeout_s else None
            case Phase.BODY:
                return Refusal.BODY if took_s > limits.body_timeout_s else None
        if not self._is_taken(limits.answer_timeout_s, now):
            return Refusal.ANSWER
        if self.phase is Phase.CLOSING and took_s > limits.answer_timeout_s and self.waiting_bytes() == 0:
            return Refusal.ANSWER
        return None

    def _is_taken(self, within_s: float, now: float) -> bool:
        """Whether the peer takes what waits for it, fast enough since the last mark."""
        waiting = self.waiting_bytes()
        if waiting == 0 or self._mark_bytes - waiting >= min(self._mark_bytes / 2, LEAST_RATE_BYTES * within_s):
            self._mark_bytes, self._mark_s = waiting, now
            return True
        if waiting > self._mark_bytes:
            if self._mark_bytes == 0:
                self._mark_s = now
            self._mark_bytes = waiting
        return now - self._mark_s <= within_s


class Connections:
    """All connections of a server.

    Args:
        limits: what they may take.
        refused: told of each that is ended or turned away.
        clock: monotonic, in seconds.
    """

    def __init__(
        self,
        limits: HttpLimits,
        refused: Callable[[Refusal], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._refused = refused
        self._clock = clock
        self._all: dict[Connection, None] = {}
        self._waiting: dict[Connection, None] = {}
        """Those that wait for their peer, from the longest on, and the idle ones of them: the first makes room."""
        self._idle: dict[Connection, None] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._all))

    @property
    def now(self) -> float:
        """The monotonic clock, in seconds."""
        return self._clock()

    def refuse(self, why: Refusal) -> None:
        """Count one that was turned away."""
        self._refused(why)

    def begin(self, phase: Phase, abort: Callable[[], object]) -> Connection | None:
        """Take one more in, and end another where there are too many; None where all are being answered."""
        if len(self._all) >= self._limits.max_connections and not self.make_room():
            self._refused(Refusal.FULL)
            return None
        connection = Connection(phase, self.now, abort)
        self._all[connection] = self._waiting[connection] = None
        return connection

    def note(self, connection: Connection, phase: Phase, *, waits_for_peer: bool) -> None:
        """Note what a connection does now, and whether only its peer can go on."""
        if phase is connection.phase and waits_for_peer is connection.waits_for_peer:
            return
        connection.waits_for_peer = waits_for_peer
        connection.enter(phase, self.now)
        if connection not in self._all:
            return
        for some, holds in ((self._waiting, waits_for_peer), (self._idle, phase is Phase.IDLE)):
            some.pop(connection, None)
            if holds:
                some[connection] = None

    def end(self, connection: Connection) -> None:
        """Forget one that has ended."""
        for some in (self._all, self._waiting, self._idle):
            some.pop(connection, None)

    def make_room(self) -> bool:
        """End the connection that has waited for its peer for longest, idle ones first; whether there was one."""
        found = next(iter(self._idle or self._waiting), None)
        if found is None:
            return False
        self._end(found, Refusal.MADE_ROOM)
        return True

    def end_overdue(self) -> None:
        """End those that have kept the server waiting for too long."""
        now = self.now
        for connection in list(self._all):
            why = connection.overdue(self._limits, now)
            if why is not None:
                self._end(connection, why)

    def _end(self, connection: Connection, why: Refusal) -> None:
        self.end(connection)
        self._refused(why)
        connection.abort()
