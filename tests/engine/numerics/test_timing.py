"""The quickest time counts, by the clock that is given."""

from patchline.engine.numerics.timing import quickest_s


def test_the_quickest_time_counts() -> None:
    """Of as many as are asked for."""
    now, takes = [0.0], [3.0, 1.0, 2.0]
    done: list[float] = []

    def work() -> None:
        done.append(takes[len(done)])
        now[0] += done[-1]

    assert quickest_s(work, 3, lambda: now[0]) == 1.0
    assert done == takes
