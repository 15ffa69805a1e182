"""The limits of connections, by a clock that moves only when told: who makes room, and who has waited too long."""

from dataclasses import dataclass, field, replace

import pytest

from patchline.ops.settings.process import HttpSettings
from patchline.ops.web.connections import LEAST_RATE_BYTES, Connection, Connections, Phase, Refusal, limits_of
from tests.stream.waiting import Clock

LIMITS = limits_of(
    HttpSettings(
        max_connections=8,
        handshake_timeout_s=1,
        head_timeout_s=2,
        body_timeout_s=3,
        answer_timeout_s=4,
        keep_alive_s=5,
    )
)


@dataclass
class Door:
    """Connections, and what became of them."""

    clock: Clock = field(default_factory=Clock)
    refused: list[Refusal] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connections = Connections(replace(LIMITS, max_connections=3), self.refused.append, self.clock)

    def come(self, name: str, phase: Phase = Phase.HEAD) -> Connection:
        connection = self.connections.begin(phase, lambda: self.aborted.append(name))
        assert connection is not None
        self.clock.now_s += 0.1
        return connection

    def answer(self, connection: Connection) -> None:
        self.connections.note(connection, Phase.ANSWER, waits_for_peer=False)


def test_limits_are_those_of_the_settings() -> None:
    """Each has the value of its key."""
    assert {name: getattr(LIMITS, name) for name in LIMITS.__slots__} == HttpSettings(
        max_connections=8,
        handshake_timeout_s=1,
        head_timeout_s=2,
        body_timeout_s=3,
        answer_timeout_s=4,
        keep_alive_s=5,
    ).model_dump(include=set(LIMITS.__slots__))
    assert limits_of() == limits_of(HttpSettings())


def test_whoever_has_waited_longest_makes_room_and_idle_ones_first() -> None:
    """A newcomer is let in as long as one waits for its peer; what is being answered is never ended for it."""
    door = Door()
    first, idle, _ = door.come("first"), door.come("idle"), door.come("last")
    door.connections.note(idle, Phase.IDLE, waits_for_peer=True)
    door.come("new")
    assert (door.aborted, door.refused, len(door.connections)) == (["idle"], [Refusal.MADE_ROOM], 3)
    door.answer(first)
    door.come("newer")
    assert door.aborted == ["idle", "last"]
    door.connections.note(first, Phase.HEAD, waits_for_peer=True)  # it waits again, but not for long
    door.come("newest")
    assert door.aborted == ["idle", "last", "new"]


def test_where_all_are_being_answered_a_newcomer_is_turned_away() -> None:
    """It is counted as such; whoever then ends leaves room."""
    door = Door()
    there = [door.come(str(number)) for number in range(3)]
    for connection in there:
        door.answer(connection)
    assert door.connections.begin(Phase.HEAD, lambda: None) is None
    assert (door.refused, door.aborted) == ([Refusal.FULL], [])
    door.connections.end(there[0])
    assert door.connections.begin(Phase.HEAD, lambda: None) is not None


@pytest.mark.parametrize(
    ("phase", "seconds", "why"),
    [
        (Phase.HANDSHAKE, 1, Refusal.HANDSHAKE),
        (Phase.HEAD, 2, Refusal.HEAD),
        (Phase.BODY, 3, Refusal.BODY),
        (Phase.CLOSING, 4, Refusal.ANSWER),
        (Phase.ANSWER, 1000, None),
        (Phase.IDLE, 1000, None),
    ],
)
def test_each_phase_has_its_time(phase: Phase, seconds: float, why: Refusal | None) -> None:
    """To the second, from when the phase began; bytes that come one by one do not begin it anew."""
    door = Door()
    connection = door.come("it", phase)
    began = connection.since_s
    door.clock.now_s = began + seconds
    connection.enter(phase, door.clock.now_s)
    door.connections.end_overdue()
    assert door.refused == []
    door.clock.now_s += 0.01
    door.connections.end_overdue()
    assert door.refused == ([why] if why else [])
    assert len(door.connections) == (0 if why else 1)


@pytest.mark.parametrize("phase", [Phase.ANSWER, Phase.IDLE, Phase.CLOSING])
def test_an_answer_that_is_not_taken_is_given_up(phase: Phase) -> None:
    """One that shrinks fast enough goes on for as long as it takes, one that does not ends within its time."""
    door = Door()
    connection = door.come("it", phase)
    waiting = 100 * LEAST_RATE_BYTES
    connection.waiting_bytes = lambda: waiting
    for _ in range(20):
        door.clock.now_s += 1
        waiting -= 4 * LEAST_RATE_BYTES
        door.connections.end_overdue()
    assert (door.refused, waiting) == ([], 20 * LEAST_RATE_BYTES)
    for _ in range(5):
        door.clock.now_s += 1
        waiting -= LEAST_RATE_BYTES // 2
        door.connections.end_overdue()
    assert door.refused == [Refusal.ANSWER]
    assert door.aborted == ["it"]


def test_a_small_answer_is_taken_by_halves() -> None:
    """An event now and then keeps a page open whose peer reads them, also where another always waits."""
    door = Door()
    connection = door.come("page", Phase.ANSWER)
    waiting = 0
    connection.waiting_bytes = lambda: waiting
    for size in (0, 1000, 400, 900, 300, 0) * 3:
        waiting = size
        door.clock.now_s += 2
        door.connections.end_overdue()
    assert door.refused == []
