"""Which records an outcome makes."""

from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.records import records_of
from patchline.stream.model.errors import Reason, UnreadableError
from patchline.stream.model.frame import Position
from patchline.stream.model.outcome import Outcome, not_inspected
from tests.stream.alarms.test_store import outcomes
from tests.stream.scripted import frame, picture

CONFIG = KafkaConfig()


def unreadable(payload: bytes) -> Outcome:
    bad = frame("bad", payload, position=Position("patchline.frames", 0, 7))
    return not_inspected(bad, UnreadableError(Reason.CORRUPT, "no image"), None)


def test_each_outcome_has_a_result_and_one_that_was_not_inspected_a_dead_letter() -> None:
    """In the outcomes' order, keyed by camera; the same outcomes always give the same bytes."""
    judged = outcomes("RP")
    given = [judged[0], unreadable(b"xyz"), judged[1]]
    records = records_of(given, CONFIG, 10)
    assert [topic for topic, _ in records] == [
        CONFIG.results_topic,
        CONFIG.results_topic,
        CONFIG.dead_letter_topic,
        CONFIG.results_topic,
    ]
    assert {key for _, (key, _, _) in records} == {b"cam-1"}
    letter, headers = records[2][1][1], dict(records[2][1][2])
    assert letter == b"xyz"
    assert headers["ce_frameoffset"] == b"7"
    assert records == records_of(given, CONFIG, 10)


def test_a_frame_above_the_size_goes_by_reference() -> None:
    """With 0 every frame does: for a topic that takes less than it should."""
    for most, value in ((3, b"xyz"), (2, b""), (0, b"")):
        letter = records_of([unreadable(b"xyz")], CONFIG, most)[1][1]
        assert letter[1] == value
        assert ("ce_dataref" in dict(letter[2])) is (value == b"")


def test_a_live_camera_has_no_dead_letters() -> None:
    """Its frames have no bytes that could be looked at."""
    live = frame("live", image=picture(50))
    given = not_inspected(live, UnreadableError(Reason.CORRUPT, "no"), None)
    assert [topic for topic, _ in records_of([given], CONFIG, 10)] == [CONFIG.results_topic]
