from pathlib import Path

import numpy as np
import pytest

from patchline.engine.errors import EngineError
from patchline.engine.fitting.scratch import EmbeddingFile, ImageSpool, KeptPatches
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


def test_images_wait_in_order_any_number_of_times(tmp_path: Path) -> None:
    """Names and pixels come back as they went in, while more go in; another shape or type is refused by name."""
    images = np.random.default_rng(0).integers(0, 255, (3, 4, 6, 3), dtype=np.uint8)
    with ImageSpool(tmp_path / "images", (4, 6)) as spool:
        for number, image in enumerate(images[:2]):
            spool.append(f"{number}", image)
        assert [name for name, _ in spool] == ["0", "1"]
        spool.append("2", images[2, :, ::-1][:, ::-1])
        assert len(spool) == 3
        for _ in range(2):
            for (name, image), expected, number in zip(spool, images, range(3), strict=True):
                assert name == f"{number}"
                assert np.array_equal(image, expected)
        for bad in (images[0, :3], images[0].astype(np.int16)):
            with pytest.raises(ValueError, match=r"bad: found u?int\d+ .*, expected uint8 \(4, 6, 3\)"):
                spool.append("bad", bad)
        assert len(spool) == 3


def test_kept_patches_outlive_their_file(tmp_path: Path) -> None:
    """Each frame's come back under its name, whatever their number; no file is ever seen, and none stays."""
    patches = {f"f{n}": np.random.default_rng(n).integers(-9, 9, (n + 1, 5)).astype(np.int16) for n in range(4)}
    kept = KeptPatches(tmp_path)
    assert kept.frames() == ()
    for name, values in patches.items():
        kept.keep(name, values[::-1][::-1])
    assert list(tmp_path.iterdir()) == []
    frames = kept.frames()
    kept.close()
    assert [name for name, _ in frames] == list(patches)
    for name, values in frames:
        assert np.array_equal(values, patches[name])
        assert not values.flags.writeable
