from datetime import UTC, datetime, timedelta

from patchline.stream.model.clock import AHEAD, is_ahead, not_ahead

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_clocks_may_differ_by_a_minute() -> None:
    """What lies farther ahead has not come yet, and is cut there."""
    for earlier in (datetime.min.replace(tzinfo=UTC), NOW, NOW + AHEAD):
        assert not is_ahead(earlier, NOW)
        assert not_ahead(earlier, NOW) == earlier
    for later in (NOW + AHEAD + timedelta(microseconds=1), datetime.max.replace(tzinfo=UTC)):
        assert is_ahead(later, NOW)
        assert not_ahead(later, NOW) == NOW + timedelta(seconds=60)
