"""Try again what may succeed later, with growing pauses, for as long as the caller lets it."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from patchline.stream.model.errors import is_retriable
from patchline.stream.model.observer import Observer

Done = TypeVar("Done")


async def retry_until_done(
    what: str,
    call: Callable[[], Awaitable[Done]],
    observer: Observer,
    *,
    first_s: float = 0.1,
    longest_s: float = 5.0,
) -> Done:
    """Call until it succeeds or raises an error that is not retriable.

    It ends when the task is cancelled; whoever has a deadline cancels. `what` names the thing that is away. Pauses
    begin with `first_s` and double up to `longest_s`, both in seconds; to each, up to `first_s` is added by chance.
    """
    pause_s = first_s
    for attempt in itertools.count(1):
        try:
            return await call()
        except Exception as error:
            if not is_retriable(error):
                raise
            observer.retrying(what, error, attempt)
        await asyncio.sleep(pause_s + random.uniform(0, first_s))  # noqa: S311 - so that not all ask at once
        pause_s = min(2 * pause_s, longest_s)
    raise AssertionError("it tries for ever")
