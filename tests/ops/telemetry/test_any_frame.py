"""Whatever a record holds, everybody who is told of its frame can take it: what raises there would end the worker."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from patchline.engine.types import Verdict
from patchline.ops.telemetry.log_observer import LogObserver
from patchline.ops.telemetry.metrics import Metrics
from patchline.stream.alarms.urgency import AlarmConditions
from patchline.stream.kafka.config import KafkaConfig
from patchline.stream.kafka.records import records_of
from patchline.stream.model.alarm import AlarmConfig
from patchline.stream.model.errors import UnreadableError
from patchline.stream.model.limits import RecipeConfig
from patchline.stream.model.observer import Fan
from patchline.stream.model.outcome import not_inspected
from patchline.stream.wire.results import read_result
from tests.stream.readme_examples import examples, headers_of, read

names = st.one_of(st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace")), st.binary(max_size=300))
dates = st.datetimes().map(lambda time: (time.isoformat() + "+14:00").encode())


@given(names, names, names, dates, st.booleans(), st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)))
def test_any_frame_is_counted_logged_and_written(
    frame_id: bytes, camera: bytes, recipe: bytes, time: bytes, is_lost: bool, timestamp_ms: int | None
) -> None:
    """By metrics, the log, what goes by cameras, and the records of results and dead letters."""
    given_headers = dict(headers_of(examples("frame headers")[0]))
    changed = {"ce_id": frame_id, "ce_source": camera, "ce_recipe": recipe, "ce_time": time}
    why = "it is broken" if is_lost else None
    frame = read(list((given_headers | changed).items()), b"x", timestamp_ms=timestamp_ms, undecodable=why)
    metrics = Metrics(max_cameras=3, process=False)
    told = Fan(metrics, LogObserver())
    recipes = RecipeConfig(name="tile", deadline_s=1.0)
    outcome = not_inspected(frame, UnreadableError(frame.flaw_reason, frame.flaw or "x"), recipes)
    told.frame_received(frame.camera)
    told.judged(frame, None, None, outcome.result)
    told.result(outcome.result)
    told.stage_seconds("sinks", frame.camera, 0.1)
    rejected = msgspec.structs.replace(outcome.result, verdict=Verdict.REJECT, reason=None)
    AlarmConditions(AlarmConfig(k=1, n=1, m=1)).result(rejected)
    assert generate_latest(metrics.registry)
    for _, (_, value, headers) in records_of([outcome], KafkaConfig(), 100):
        assert value is not None
        assert all(isinstance(header, bytes) for _, header in headers)
    result = records_of([outcome], KafkaConfig(), 100)[0][1]
    assert read_result(result[2], result[1]).verdict is Verdict.NOT_INSPECTED
