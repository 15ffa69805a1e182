"""Try again what may succeed later, with growing pauses, for as long as the caller lets it."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_never, wait_exponential, wait_random

from stream.errors import is_retriable
from stream.observer import Observer

T = TypeVar("T")


async def persist(
    what: str,
    call: Callable[[], Awaitable[T]],
    observer: Observer,
    *,
    first_s: float = 0.1,
    longest_s: float = 5.0,
) -> T:
    """Call until it succeeds or raises an error that is not retriable.

    It ends when the task is cancelled; whoever has a deadline cancels. `what` names the thing that is away.
    """

    def tell(state: RetryCallState) -> None:
        if state.outcome is not None and (error := state.outcome.exception()) is not None:
            observer.retrying(what, error, state.attempt_number)

    async def attempt() -> T:
        return await call()

    retrying = AsyncRetrying(
        retry=retry_if_exception(is_retriable),
        wait=wait_exponential(multiplier=first_s, max=longest_s) + wait_random(0, first_s),
        stop=stop_never,
        before_sleep=tell,
        reraise=True,
    )
    return await retrying(attempt)
