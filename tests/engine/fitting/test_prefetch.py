"""Items are made ahead on a thread of their own, in order."""

import threading
from collections.abc import Iterator

import pytest

from patchline.engine.fitting.prefetch import read_ahead


def test_items_come_in_order_from_another_thread() -> None:
    """So many are asked for before the first is wanted, and no more than that ahead of who takes them."""
    made: list[int] = []
    threads: set[int] = set()

    def items() -> Iterator[int]:
        for number in range(1, 9):
            made.append(number)
            threads.add(threading.get_ident())
            yield number

    ahead = read_ahead(items(), depth=3)
    taken = []
    for item in ahead:
        taken.append(item)
        assert len(made) <= len(taken) + 3
    assert taken == list(range(1, 9))
    assert threading.get_ident() not in threads
    assert len(threads) == 1
    assert list(read_ahead(iter([]))) == []


def test_an_error_comes_where_its_item_would_have() -> None:
    """What was made before it is given first."""

    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(OSError, match="gone"):
        next(ahead)
