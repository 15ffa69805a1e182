"""What has work and does not move hangs; what has none does not."""

from patchline.stream.support.heartbeat import Heartbeat, Watchdog
from tests.stream.waiting import Clock


def test_silence_counts_from_the_last_beat_while_there_is_work() -> None:
    """Rest ends it, and a heart begins at rest."""
    clock = Clock()
    heart = Heartbeat(clock)
    clock.now_s += 100
    assert (heart.resting, heart.silent_s) == (True, 0)
    heart.beat()
    clock.now_s += 3
    assert (heart.resting, heart.silent_s) == (False, 3)
    heart.beat()
    assert heart.silent_s == 0
    clock.now_s += 3
    heart.rest()
    assert (heart.resting, heart.silent_s) == (True, 0)


def test_the_watchdog_names_what_hangs() -> None:
    """Beyond its bound only, and all of it."""
    watchdog = Watchdog(10)
    clock = Clock()
    for name in ("engine", "consumer"):
        watchdog._parts[name] = Heartbeat(clock)
        watchdog.heartbeat(name).beat()
    assert watchdog.heartbeat("engine") is watchdog.heartbeat("engine")
    clock.now_s += 10
    assert watchdog.hanging() is None
    clock.now_s += 1
    watchdog.heartbeat("consumer").beat()
    assert watchdog.hanging() == "engine has not moved for 11.0 s"
    clock.now_s += 11
    assert watchdog.hanging() == "engine has not moved for 22.0 s; consumer has not moved for 11.0 s"
