"""Times that others tell: how far a clock may be ahead before it is not believed.

Wherever the largest of several times is kept, one record that is dated far ahead would stay the largest for years.
"""

from datetime import datetime, timedelta

AHEAD = timedelta(seconds=60)
"""Clocks of machines on one line differ by less."""


def is_ahead(time: datetime, now: datetime) -> bool:
    """Whether a time cannot have come yet, by a clock that is right to within a minute."""
    return time > now + AHEAD


def not_ahead(time: datetime, now: datetime) -> datetime:
    """A time, but no later than a minute from now."""
    return min(time, now + AHEAD)
