"""`patchline alarms` against a real Redis."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from patchline.ops.commands.alarms import duration_of
from patchline.ops.errors import InputError
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


def test_an_alarm_is_shelved_and_comes_back(options: list[str]) -> None:
    """`list` says until when, by whom and why; a second shelving changes the time; `unshelve` ends it once."""
    done = patchline("alarms", "shelve", "gate", "--for", "30m", "--reason", "lamp", "--operator", "ada", *options)
    assert done.returncode == 0, done.stderr
    assert "gate: shelved until 20" in done.stdout
    assert "(now unacknowledged)" in done.stdout
    listed = json.loads(patchline("alarms", "list", "--json", *options).stdout)
    until = datetime.fromisoformat(listed["shelved_until"])
    assert timedelta(minutes=29) < until - datetime.now(UTC) <= timedelta(minutes=30)
    assert (listed["shelved_by"], listed["shelved_reason"]) == ("ada", "lamp")
    assert "by ada: lamp" in " ".join(patchline("alarms", "list", *options).stdout.split())
    assert patchline("alarms", "shelve", "gate", "--for", "1h30m", *options).returncode == 0
    assert "gate: unshelved (now unacknowledged)" in patchline("alarms", "unshelve", "gate", *options).stdout
    again = patchline("alarms", "unshelve", "gate", *options)
    assert (again.returncode, "not shelved" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gate", "--for", "9h"], "at most 8:00:00"),
        (["gate", "--for", "0s"], "more than nothing"),
        (["gate", "--for", "soon"], "expected a time such as 90s, 30m, 4h or 1h30m"),
        (["gate", "--for", "30m", "--reason", "x" * 2001], "reason has 2,001 characters"),
        (["gate", "--for", "30m", "--operator", "x" * 1025], "operator is 'xxx"),
        (["nobody", "--for", "30m"], "not known"),
        (["gate", "--for", "30m", "--operator", "caf\udce9"], r"operator is 'caf\udce9', expected UTF-8"),
        (["gate", "--for", "30m", "--reason", "caf\udce9"], "reason has bytes that are no text, expected UTF-8"),
        (["caf\udce9", "--for", "30m"], r"camera is 'caf\udce9', expected UTF-8"),
    ],
)
def test_what_cannot_be_shelved_is_said(options: list[str], arguments: list[str], said: str) -> None:
    """With what was expected; nothing is changed."""
    done = patchline("alarms", "shelve", *arguments, *options)
    assert (done.returncode, said in " ".join(done.stderr.split())) == (2, True), done.stderr
    assert json.loads(patchline("alarms", "list", "--json", *options).stdout)["shelved_until"] is None


def test_how_long_is_bounded_by_the_settings(options: list[str], tmp_path: Path) -> None:
    """A file allows more, or less, than the default."""
    file = tmp_path / "line.yaml"
    redis = f"redis: {{url: '{options[1]}', prefix: '{options[3]}'}}\n"
    file.write_text("recipes: {tile: {bank: tile}}\nalarms: {longest_shelf_s: 60}\n" + redis)
    done = patchline("alarms", "shelve", "gate", "--for", "61s", "--settings", file)
    assert (done.returncode, "at most 0:01:00" in done.stderr) == (2, True), done.stderr
    assert patchline("alarms", "shelve", "gate", "--for", "60s", "--settings", file).returncode == 0


def test_a_camera_is_forgotten(options: list[str]) -> None:
    """It is listed no more; a second time there is nothing to forget."""
    done = patchline("alarms", "forget", "gate", "--operator", "ada", *options)
    assert (done.returncode, "gate: forgotten" in done.stdout) == (0, True), done.stderr
    assert "no camera has had an alarm" in patchline("alarms", "list", *options).stdout
    assert patchline("alarms", "forget", "gate", *options).returncode == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("4h", 14_400), ("1h30m", 5400), ("1h1m1s", 3661), ("0s", 0)]
)
def test_a_time_is_hours_minutes_and_seconds(text: str, seconds: int) -> None:
    """Each once at most, and in this order."""
    assert duration_of(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "30", "m", "30 m", "-30m", "1.5h", "30m1h", "99999h", "\u0663m", "1d"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """By name, with examples."""
    with pytest.raises(InputError, match="expected a time such as"):
        duration_of(text)


@pytest.mark.parametrize("command", [["ack"], ["unshelve"], ["forget"], ["shelve", "--for", "1m"]])
def test_a_camera_that_is_no_text_is_refused(options: list[str], command: list[str]) -> None:
    """By every command alike, and so is who says it, before anything is written."""
    for more in (["caf\udce9"], ["gate", "--operator", "caf\udce9"]):
        done = patchline("alarms", *command, *more, *options)
        assert (done.returncode, r"'caf\udce9', expected UTF-8" in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("database", ["/x", "/0?db=word"])
def test_a_database_of_redis_is_a_number(database: str) -> None:
    """As in the settings: of a word Redis's library makes database 0."""
    done = patchline("alarms", "list", "--redis", f"redis://:hunter2-hunter2@127.0.0.1:1{database}")
    assert (done.returncode, "--redis: expected a database by its number" in done.stderr) == (2, True), done.stderr
    assert "hunter2" not in done.stderr


def test_a_redis_that_is_away_is_one_message() -> None:
    """Without a Redis the command says where it looked, without the password, and exits with 1."""
    done = patchline("alarms", "list", "--redis", "redis://:hunter2-hunter2@127.0.0.1:1/0")
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr
