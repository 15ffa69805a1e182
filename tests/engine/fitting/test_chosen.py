"""Images of a fit by their names."""

from pathlib import Path

import numpy as np
import pytest

from patchline.engine.errors import EngineError
from patchline.engine.fitting.chosen import Chosen, stay
from patchline.engine.fitting.scratch import ImageSpool

NAMES = ["a", "b", "c"]


def test_excluded_names_leave_and_all_names_none() -> None:
    """`all` is for what looks contaminated, which nobody knows yet."""
    assert stay(NAMES, {"b"}, {"c"}) == [0, 2]
    assert stay(NAMES, {"all", "a"}, ()) == [1, 2]
    assert stay(NAMES, (), {"all"}) == [0, 1, 2]


@pytest.mark.parametrize(
    ("exclude", "trusted", "said"),
    [
        ({"d"}, (), "'d': no image"),
        ((), {"e"}, "'e': no image"),
        ({"a"}, {"a"}, "'a': found among"),
        ({"all"}, {"all"}, "'all'"),
    ],
)
def test_a_name_of_no_image_or_in_both_is_refused(exclude: set[str], trusted: set[str], said: str) -> None:
    """The message names it."""
    with pytest.raises(EngineError, match=said):
        stay(NAMES, exclude, trusted)


def test_chosen_images_are_read_again_and_again(tmp_path: Path) -> None:
    """In order; and some of the chosen are chosen by their numbers among these."""
    with ImageSpool(tmp_path / "spool", (1, 1)) as spool:
        for value, name in enumerate(NAMES):
            spool.append(name, np.full((1, 1, 3), value, dtype=np.uint8))
        some = Chosen(spool, [0, 2])
        assert len(some) == 2
        for _ in range(2):
            assert [(name, int(image[0, 0, 0])) for name, image in some] == [("a", 0), ("c", 2)]
        assert [name for name, _ in Chosen(some, [1])] == ["c"]
