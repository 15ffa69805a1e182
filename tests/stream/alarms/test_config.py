"""Where alarms go: what a key that is left out means, and what makes no sense."""

from pathlib import Path
from typing import Any

import pytest

from patchline.stream.alarms.config import AlarmLimits, JournalConfig, RedisConfig
from patchline.stream.model.errors import ConfigError


def test_a_key_that_is_left_out_keeps_its_meaning() -> None:
    """Settings that name none of them behave after an update as before it."""
    assert RedisConfig() == RedisConfig(
        url="redis://localhost:6379/0",
        url_file=None,
        password_file=None,
        prefix="patchline:",
        ca_file=None,
        timeout_s=2.0,
        events_kept=10_000,
    )
    assert JournalConfig(path=Path("alarms.sqlite3")).size == 100_000
    assert AlarmLimits() == AlarmLimits(max_cameras=1000, always=frozenset(), longest_shelf_s=28_800.0)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"timeout_s": 0.0}, r"RedisConfig\.timeout_s is 0\.0, expected more than 0"),
        ({"events_kept": 0}, r"RedisConfig\.events_kept is 0, expected at least 1"),
        ({"ca_file": Path("ca.pem")}, r"RedisConfig\.ca_file is set, but the url does not begin with rediss://"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(given: dict[str, Any], named: str) -> None:
    """Before anything is connected."""
    with pytest.raises(ConfigError, match=named):
        RedisConfig(**given)


def test_the_least_that_makes_sense_is_taken() -> None:
    """Bounds include what they name; a certificate authority goes with TLS; a journal holds a frame or more."""
    taken = RedisConfig(url="rediss://plant:6380/1", ca_file=Path("ca.pem"), events_kept=1, timeout_s=0.001)
    assert (taken.events_kept, taken.ca_file) == (1, Path("ca.pem"))
    assert JournalConfig(path=Path("j"), size=1).size == 1
    with pytest.raises(ConfigError, match=r"JournalConfig\.size is 0, expected at least 1"):
        JournalConfig(path=Path("j"), size=0)


def test_a_password_in_the_address_is_not_printed() -> None:
    """The configuration may stand in a log."""
    assert "horse" not in repr(RedisConfig(url="redis://:horse@plant:6379/0"))


def test_limits_of_alarms_hold_something() -> None:
    """One camera, and any time at all."""
    assert AlarmLimits(max_cameras=1, longest_shelf_s=0.1).max_cameras == 1
    with pytest.raises(ConfigError, match=r"AlarmLimits\.max_cameras is 0, expected at least 1"):
        AlarmLimits(max_cameras=0)
    with pytest.raises(ConfigError, match=r"AlarmLimits\.longest_shelf_s is 0\.0, expected more than 0"):
        AlarmLimits(longest_shelf_s=0.0)
