"""Work in steps is run to its end."""

from collections.abc import Generator

from patchline.engine.numerics.steps import finish


def test_all_steps_are_run_and_the_result_is_given() -> None:
    """Also where there are none."""
    done: list[int] = []

    def steps(count: int) -> Generator[None, None, str]:
        for number in range(count):
            done.append(number)
            yield
        return f"{count} steps"

    assert [finish(steps(3)), finish(steps(0))] == ["3 steps", "0 steps"]
    assert done == [0, 1, 2]
