"""Live cameras beside each other and beside a backlog, through a whole pipeline with an engine that takes its time."""

from collections import Counter

from patchline.stream.model.frame import Frame, Position
from patchline.stream.model.limits import Limits
from patchline.stream.pipeline import Pipeline
from tests.stream.list_ports import ListSink, ListSource
from tests.stream.live_feed import LiveFeed
from tests.stream.scripted import Recorder, ScriptedEngine, frame


async def test_each_live_picture_is_a_result_or_a_drop_and_shares_are_even() -> None:
    """One camera sends ten times as often as three others; the engine can judge less than any two of them send."""
    seen, sink = Recorder(), ListSink()
    feeds = [LiveFeed(name, per_s, count, observer=seen) for name, per_s, count in RATES]
    await Pipeline(
        sources=feeds,
        engine=ScriptedEngine(seconds=0.2),
        sinks=[sink],
        limits=Limits(batch_size=2),
        observer=seen,
    ).run()
    judged = Counter(outcome.frame.camera for outcome in sink.outcomes)
    for name, _, count in RATES:
        dropped = sum(number for (camera, _), number in seen.dropped.items() if camera == name)
        assert judged[name] + dropped == seen.received[name] == count
        assert judged[name] > 0
    assert judged["fast"] <= 2 * min(judged.values()) + 2


RATES = (("fast", 200.0, 600), ("a", 20.0, 60), ("b", 20.0, 60), ("c", 20.0, 60))


async def test_a_backlog_that_can_be_replayed_does_not_hold_up_a_live_camera() -> None:
    """With three times as many frames waiting as may be in flight, the camera's pictures are judged among the first."""
    backlog: list[Frame] = [frame(f"b{number}", position=Position("frames", 0, number)) for number in range(48)]
    seen, sink = Recorder(), ListSink()
    await Pipeline(
        sources=[ListSource(backlog), LiveFeed("live", 10.0, 5, observer=seen)],
        engine=ScriptedEngine(seconds=0.1),
        sinks=[sink],
        limits=Limits(batch_size=2, max_in_flight=16),
        observer=seen,
    ).run()
    assert Counter(sink.ids) >= Counter(each.frame_id for each in backlog)
    first_live = next(place for place, name in enumerate(sink.ids) if name.startswith("live"))
    assert first_live < 16, "the picture waited behind all that was in flight"
    assert seen.received["live"] == 5
