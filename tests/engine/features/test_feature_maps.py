"""What stages give comes in one layout."""

import re

import pytest
import torch

from patchline.engine.errors import RecipeError
from patchline.engine.features.feature_maps import as_map


@pytest.mark.parametrize("shape", [(2, 8), (2, 56, 56, 96), (2, 300, 8)])
def test_what_is_no_map_is_refused(shape: tuple[int, ...]) -> None:
    """A stage that gives no place of the image is named, with what it gives."""
    with pytest.raises(RecipeError, match=re.escape(f"stage '3' gives {shape} for an image of 224 x 224 px")):
        as_map(torch.zeros(shape), (224, 224), "3")


def test_tokens_become_a_map_row_by_row() -> None:
    """Tokens that belong to no part of the image come first and are left out; squares may have several sides."""
    squares = torch.arange(6.0).view(1, 6, 1).expand(2, 6, 5)
    tokens = torch.cat([torch.full((2, 3, 5), -1.0), squares], dim=1)
    found = as_map(tokens, (32, 48), "1")
    assert found.shape == (2, 5, 2, 3)
    assert found[0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert as_map(tokens[:, 2:], (64, 96), "1").shape == (2, 5, 2, 3)


def test_a_map_may_differ_from_the_image_by_its_borders() -> None:
    """A few cells more or less than the image's proportions are a map; many are not."""
    assert as_map(torch.zeros(1, 5, 58, 55), (224, 224), "1").shape == (1, 5, 58, 55)
    with pytest.raises(RecipeError, match="stage '1' gives"):
        as_map(torch.zeros(1, 5, 64, 56), (224, 224), "1")
