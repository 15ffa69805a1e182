import asyncio
import random

import pytest

from patchline.stream.model.errors import SinkError, SinkUnavailableError
from patchline.stream.model.observer import Observer
from patchline.stream.support.retry import retry_until_done


class Notes(Observer):
    """Remembers what was tried again."""

    def __init__(self) -> None:
        self.retries: list[tuple[str, str, int]] = []

    def retrying(self, what: str, error: BaseException, attempt: int) -> None:
        self.retries.append((what, str(error), attempt))


class Away:
    """Fails so often, then answers."""

    def __init__(self, failures: int, error: type[Exception] = SinkUnavailableError) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error(f"away {self.calls}")
        return "done"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that are made, in seconds; none of them takes any time, and chance adds half of what it may."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(random, "uniform", lambda low, high: low + (high - low) / 2)
    return made


async def test_pauses_between_attempts_double_up_to_the_longest(pauses: list[float]) -> None:
    """Pauses begin with `first_s` and double up to `longest_s`; to each, up to `first_s` is added by chance."""
    assert await retry_until_done("it", Away(6), Observer(), first_s=1.0, longest_s=5.0) == "done"
    assert pauses == [1.5, 2.5, 4.5, 5.5, 5.5, 5.5]


async def test_pauses_are_a_tenth_of_a_second_to_five_seconds_unless_told(pauses: list[float]) -> None:
    """By default the first pause is 0.1 s, and the longest 5 s."""
    await retry_until_done("it", Away(8), Observer())
    assert pauses == pytest.approx([pause + 0.05 for pause in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0)])


async def test_what_is_added_by_chance_lies_between_nothing_and_the_first_pause(
    pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chance is asked for a number from 0 to `first_s`, so that not all workers ask at once."""
    asked: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        asked.append((low, high))
        return low

    monkeypatch.setattr(random, "uniform", uniform)
    await retry_until_done("it", Away(2), Observer(), first_s=0.5)
    assert asked == [(0, 0.5), (0, 0.5)]


async def test_every_failure_is_told_with_its_number(pauses: list[float]) -> None:
    """The observer hears what is away, why, and the how manyth attempt it was, from 1; success is not told."""
    seen = Notes()
    assert await retry_until_done("the sink", Away(3), seen) == "done"
    assert seen.retries == [("the sink", f"away {n}", n) for n in (1, 2, 3)]


async def test_what_cannot_succeed_later_is_raised_at_once(pauses: list[float]) -> None:
    """An error that is not retriable, and one that is none of the stream's, ends it without a pause."""
    for error in (SinkError, KeyError):
        call, seen = Away(1, error), Notes()
        with pytest.raises(error):
            await retry_until_done("it", call, seen)
        assert (call.calls, seen.retries, pauses) == (1, [], [])


async def test_cancelling_ends_it() -> None:
    """Whoever has a deadline cancels; nothing is called afterwards."""
    call = Away(10**9)
    task = asyncio.create_task(retry_until_done("it", call, Observer(), first_s=0.001))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert call.calls >= 2
