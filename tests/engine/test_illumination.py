"""A change of exposure leaves levelled pixels and centred embeddings as they were."""

import numpy as np
import pytest
import torch

from engine.errors import ImageError
from engine.illumination import LEVEL, embed_centred, level
from engine.patches import embed
from tests.engine.conftest import texture


def test_levelling_undoes_exposure() -> None:
    """An image at 0.6 and at 1.3 times the light comes out the same, to rounding."""
    image = (texture(1) * 0.7).astype(np.uint8)
    darker, brighter = (np.rint(image * gain).astype(np.uint8) for gain in (0.6, 1.3))
    assert abs(float(np.median(level(image)[..., 1])) - LEVEL) < 25
    assert np.abs(level(image).astype(int) - level(darker)).max() <= 4
    assert np.abs(level(image).astype(int) - level(brighter)).max() <= 4


def test_a_black_image_stays_black() -> None:
    """No light gives no gain to divide by."""
    assert level(np.zeros((4, 4, 3), dtype=np.uint8)).max() == 0


def test_what_is_no_image_is_refused() -> None:
    """Grey or float arrays are named in the error."""
    with pytest.raises(ImageError, match="float32"):
        level(np.zeros((4, 4, 3), dtype=np.float32))  # type: ignore[arg-type]


def test_an_offset_of_a_feature_map_leaves_no_trace() -> None:
    """Embeddings of maps with a constant added to each channel are the same; plain ones are not."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, 8, 8, generator=generator), torch.randn(2, 5, 4, 4, generator=generator)]
    lit = [m + torch.randn(2, m.shape[1], 1, 1, generator=generator) for m in maps]
    assert torch.allclose(embed_centred(maps, (4, 4)), embed_centred(lit, (4, 4)), atol=1e-5)
    assert not torch.allclose(embed(maps)[0], embed(lit)[0], atol=0.1)


def test_on_the_finest_grid_it_is_the_plain_embedding_of_centred_maps() -> None:
    """Aggregation, alignment and order of channels are those of every embedding."""
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(1, 3, 8, 8, generator=generator), torch.randn(1, 5, 4, 4, generator=generator)]
    centred = [m - m.mean((2, 3), keepdim=True) for m in maps]
    assert torch.equal(embed_centred(maps, (8, 8)), embed(centred)[0])
