from pathlib import Path

import numpy as np
import pytest

from patchline.engine.errors import EngineError
from patchline.engine.fitting.scratch import EmbeddingFile
from patchline.engine.numerics.quantise import LIMIT, scale_for


def test_values_come_back_within_half_a_unit_of_the_scale(tmp_path: Path) -> None:
    """What is read back differs from what was appended by rounding to one scale, and by nothing else."""
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(49, 12)).astype(np.float32) for _ in range(5)]
    with EmbeddingFile(tmp_path / "patches", 12) as file:
        for image in images:
            file.append(image)
        rows, scale = file.rows(), file.scale
        assert rows.shape == (245, 12)
        np.testing.assert_allclose(rows * scale, np.concatenate(images), rtol=0, atol=scale / 2)


def test_a_larger_image_doubles_the_scale_and_keeps_what_is_on_file(tmp_path: Path) -> None:
    """The final scale is the one that the largest value asks for, whichever image brought it; nothing saturates."""
    small = np.linspace(-1, 1, 24, dtype=np.float32).reshape(6, 4)
    large = small * 1000
    with EmbeddingFile(tmp_path / "patches", 4) as file:
        for image in (small, large, small):
            file.append(image)
        rows, scale = np.asarray(file.rows()), file.scale
        assert scale == scale_for(1000.0)
        assert np.abs(rows).max() < LIMIT
        np.testing.assert_allclose(rows * scale, np.concatenate([small, large, small]), rtol=0, atol=scale)


def test_the_file_is_removed_and_never_overwrites_another(tmp_path: Path) -> None:
    """A temporary file leaves nothing behind, and refuses a path that is taken."""
    path = tmp_path / "patches"
    with EmbeddingFile(path, 4):
        with pytest.raises(FileExistsError):
            EmbeddingFile(path, 4)
        assert path.exists()
    assert not path.exists()


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    """A wrong width and a value that is not finite are errors that say what was found."""
    with EmbeddingFile(tmp_path / "patches", 4) as file:
        with pytest.raises(EngineError, match=r"\(2, 5\)"):
            file.append(np.zeros((2, 5), dtype=np.float32))
        with pytest.raises(EngineError, match="finite"):
            file.append(np.full((1, 4), np.nan, dtype=np.float32))
        with pytest.raises(EngineError, match="no embeddings yet"):
            _ = file.scale
