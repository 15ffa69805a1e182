"""Frames on cores of their own: answers in order, without waiting between batches."""

import threading
import time
from collections.abc import Iterator, Sequence

import pytest
import torch

from patchline.engine.numerics.core_pool import (
    CorePool,
    on_one_core,
    spread_async,
    spread_runs,
    spread_runs_async,
    submit,
)


@pytest.fixture
def cores() -> Iterator[CorePool]:
    made = CorePool(2)
    yield made
    made._workers.shutdown()


def test_what_is_begun_later_needs_no_core_to_wait(cores: CorePool) -> None:
    """A core that is done goes on with the next batch, while another works on the last frame of the one before."""
    gate = threading.Event()
    slow = cores.map_async(lambda item: gate.wait(60) if item == 1 else item, [0, 1])
    assert cores.map_async(lambda item: item + 1, [5, 6, 7]).result(60) == [6, 7, 8]
    assert not slow.done()
    gate.set()
    assert slow.result(60) == [0, True]


def test_the_first_error_is_the_answer(cores: CorePool) -> None:
    """It is raised when all items are done; of several errors that of the first item."""

    def work(item: int) -> int:
        if item:
            raise ValueError(f"no {item}")
        return item

    with pytest.raises(ValueError, match="no 1"):
        cores.map_async(work, [0, 1, 2]).result(60)


def test_one_item_follows_what_waits(cores: CorePool) -> None:
    """A single piece of work goes to whichever core is free first; on idle cores at once."""
    gate = threading.Event()
    waiting = cores.map_async(lambda _: gate.wait(60), [0, 1])
    last, failing = cores.submit(lambda: waiting.done()), cores.submit(lambda: 1 / 0)
    gate.set()
    assert waiting.result(60) == [True, True]
    last.result(60)
    with pytest.raises(ZeroDivisionError):
        failing.result(60)
    assert submit(lambda: 7).result(60) == 7


def test_items_are_shared_only_where_others_do_not_follow_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    """One item on two cores: by both if they have been idle for longer than the last one took, else by one of them."""
    made = CorePool(2)
    monkeypatch.setattr("patchline.engine.numerics.core_pool.shared_pool", lambda _: made)
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    here = threading.get_ident()

    def begin_first(seconds: float) -> bool:
        """Whether an item that takes so long is shared: the thread that began it computes."""

        def slow(_: int) -> int:
            time.sleep(seconds)
            return threading.get_ident()

        return spread_async(slow, [0], lambda: True).result(60) == [here]

    gate = threading.Event()
    busy = made.submit(lambda: gate.wait(60))
    assert not begin_first(0.05)
    gate.set()
    busy.result(60)
    assert not begin_first(0.3)
    assert not begin_first(0.001)
    time.sleep(0.5)
    assert begin_first(0.001)
    made._workers.shutdown()


def test_steps_on_one_core_compute_with_one_thread() -> None:
    """And the number of threads is afterwards as it was, also where a step raises."""
    count = torch.get_num_threads()
    seen: list[int] = []

    def steps() -> Iterator[None]:
        seen.append(torch.get_num_threads())
        yield
        raise ValueError("no")

    on_one = on_one_core(steps())
    next(on_one)
    assert seen == [1]
    assert torch.get_num_threads() == count
    with pytest.raises(ValueError, match="no"):
        next(on_one)
    assert torch.get_num_threads() == count


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_begun_or_waited_for_answers_are_alike(count: int) -> None:
    """Results are the same whatever is left over for all cores together."""
    assert spread_async(lambda item: 2 * item, range(count), lambda: True).result(60) == [
        2 * item for item in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 5, 8, 19])
def test_items_of_a_kind_may_be_taken_together(count: int) -> None:
    """Answers come in the items' order, and no work is given items of two kinds."""

    def work(items: Sequence[int]) -> list[tuple[int, int]]:
        assert len({item % 3 for item in items}) == 1
        return [(item, len(items)) for item in items]

    kinds = [item % 3 for item in range(count)]
    found = spread_runs(work, range(count), lambda: True, kinds)
    assert [item for item, _ in found] == list(range(count))
    assert all(together in (1, 2, 4) for _, together in found)
    begun = spread_runs_async(work, range(count), lambda: True, kinds).result(60)
    assert [item for item, _ in begun] == list(range(count))


def test_a_run_that_fails_is_the_answer() -> None:
    """Its error is raised, whether the answer is waited for or comes later."""

    def work(items: Sequence[int]) -> list[int]:
        return [1 // item for item in items]

    with pytest.raises(ZeroDivisionError):
        spread_runs(work, range(8), lambda: True, [0] * 8)
    with pytest.raises(ZeroDivisionError):
        spread_runs_async(work, range(8), lambda: True, [0] * 8).result(60)


def test_a_run_counts_as_its_frames(cores: CorePool) -> None:
    """How long a frame takes is asked of frames, not of runs: two that took as long as one are half as long each."""
    cores.map_async(lambda _: time.sleep(0.2), [0], frames=lambda _: 10).result(60)
    while cores._under_way:
        time.sleep(0.001)
    assert cores._took_s < 0.2
