from datetime import UTC, datetime

from engine.inspection import Verdict
from stream.config import AlarmConfig
from stream.messages import Result
from stream.precedence import AlarmConditions


def test_the_condition_follows_the_alarm_rule_of_each_camera():
    """Two rejects among three make a camera urgent, two passes in a row end it, and other cameras are not touched."""
    conditions = AlarmConditions(AlarmConfig(k=2, n=3, m=2))
    now, told = datetime.now(UTC), []
    for number, letter in enumerate("RPRPPPRRNP"):
        verdict = {"R": Verdict.REJECT, "P": Verdict.PASS, "N": Verdict.NOT_INSPECTED}[letter]
        conditions.result(
            Result(
                frame_id=str(number),
                camera="cam-1",
                recipe="plate",
                time=now,
                inspected_at=now,
                verdict=verdict,
                latency_ms=1.0,
            )
        )
        told.append("+" if conditions.present("cam-1") else "-")
    assert "".join(told) == "--++---+++"
    assert not conditions.present("cam-2")
