"""`patchline alarms` against a real Redis."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from patchline.stream.alarms.config import RedisConfig
from patchline.stream.alarms.store import AlarmStore
from patchline.stream.model.alarm import Alarm, AlarmState
from patchline.stream.wire.alarms import StoredAlarm
from tests.ops.conftest import PATCHLINE, patchline

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def options(redis_url: str, unique_name: Callable[[str], str]) -> list[str]:
    """The options that reach a Redis with one alarm that nobody has acknowledged, of camera `gate`."""
    prefix = unique_name("alarms") + ":"
    store = AlarmStore(RedisConfig(url=redis_url, prefix=prefix))
    raised = Alarm(camera="gate", state=AlarmState.UNACKNOWLEDGED, alarm_id="frame-7", raised_at=NOW, window="RRR")
    await store.write([StoredAlarm(raised, 1, "frame-7")], [])
    await store.close()
    return ["--redis", redis_url, "--prefix", prefix]


def test_an_alarm_is_listed_acknowledged_and_watched(options: list[str]) -> None:
    """The alarm is listed; `ack` acknowledges it, `watch` sees it happen, and a second `ack` finds nothing."""
    listed = json.loads(patchline("alarms", "list", "--json", *options).stdout)
    assert (listed["camera"], listed["state"], listed["alarm_id"]) == ("gate", "unacknowledged", "frame-7")
    assert "frame-7" in patchline("alarms", "list", *options).stdout

    command = [PATCHLINE, "alarms", "watch", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        try:
            assert watching.stderr is not None
            assert "watching" in watching.stderr.readline()
            done = patchline("alarms", "ack", "gate", "--operator", "A. Jansen", *options)
            assert done.returncode == 0, done.stderr
            assert "gate: acknowledged (now acknowledged)" in done.stdout
            assert watching.stdout is not None
            event = json.loads(watching.stdout.readline())
            assert (event["change"], event["operator"], event["alarm_id"]) == ("acknowledged", "A. Jansen", "frame-7")
        finally:
            watching.kill()

    again = patchline("alarms", "ack", "gate", *options)
    assert again.returncode == 2
    assert "nothing to acknowledge" in again.stderr


def test_a_redis_that_is_away_is_one_message() -> None:
    """Without a Redis the command says where it looked, without the password, and exits with 1."""
    done = patchline("alarms", "list", "--redis", "redis://:hunter2-hunter2@127.0.0.1:1/0")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr
