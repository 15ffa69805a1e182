import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.types import Image
from patchline.stream.evidence.explanation import Explanation, explain
from patchline.stream.evidence.store import Evidence, EvidenceStore, encode_png
from patchline.stream.model.errors import FeedbackError
from patchline.stream.model.result import Box
from tests.stream.evidence_help import decoded, evidence, store_at
from tests.stream.scripted import picture

GRID = (4, 6)
WORST = Box(top_px=16, left_px=32, height_px=16, width_px=16)


def bank() -> MemoryBank:
    """Row 3 is patch 8 of frame "good", which joined in generation 2."""

    def provenance(row: int) -> tuple[str, int]:
        assert row == 3
        return "good", 8

    frames = [SimpleNamespace(generation=1), SimpleNamespace(generation=2)]
    found = SimpleNamespace(
        grid=GRID,
        rows=range(4),
        generation=2,
        frames=frames,
        row_frame=np.array([0, 0, 0, 1]),
        provenance=provenance,
    )
    return cast(MemoryBank, found)


def kept(store: EvidenceStore, image: Image, frame_id: str = "bad") -> Evidence:
    """A frame in the store whose worst patch is (1, 2), nearest to row 3."""
    png = encode_png(image)
    made = evidence(frame_id, png)
    made = msgspec.structs.replace(made, result=msgspec.structs.replace(made.result, worst=WORST))
    store.put(made, png)
    return made


def test_the_worst_patch_is_shown_beside_the_nearest_good_one(tmp_path: Path) -> None:
    """Both crops show the patch with two cells around it, as far as the image goes; the row says where it is from."""
    store = store_at(str(tmp_path))
    bad, good = picture(200), picture(60)
    found = explain(kept(store, bad), bank(), store, lambda name: good if name == "good" else None)
    assert (found.frame_id, found.recipe, found.score, found.threshold) == ("bad", "plate", 120.0, 100.0)
    assert (found.score_ratio, found.p_value) == (1.2, 0.01)
    assert (found.generation.number, found.worst) == (1, WORST)
    assert (found.nearest.row, found.nearest.frame_id, found.nearest.patch) == (3, "good", 8)
    assert (found.nearest.generation, found.nearest.time) == (2, None)
    assert found.nearest.box == Box(top_px=16, left_px=32, height_px=16, width_px=16)
    assert np.array_equal(decoded(found.crop_png), bad[0:64, 0:80])
    assert np.array_equal(decoded(found.nearest.crop_png), good[0:64, 0:80])


def test_a_good_frame_that_is_still_kept_is_shown_from_there(tmp_path: Path) -> None:
    """A confirmed frame comes from the evidence store, with its time; the images of the fit are not asked."""
    store = store_at(str(tmp_path))
    good = kept(store, picture(60), "good")

    def never(name: str) -> Image | None:
        raise AssertionError(name)

    found = explain(kept(store, picture(200)), bank(), store, never)
    assert found.nearest.time == good.result.time
    assert np.array_equal(decoded(found.nearest.crop_png), picture(60)[0:64, 0:80])


def test_images_that_are_gone_are_left_out(tmp_path: Path) -> None:
    """Without images the explanation still says which row and frame the patch was nearest to."""
    store = store_at(str(tmp_path))
    made = kept(store, picture(200))
    for path in tmp_path.rglob("*.image"):
        path.unlink()
    found = explain(made, bank(), store, lambda _: None)
    assert (found.crop_png, found.nearest.crop_png, found.nearest.box) == (None, None, None)
    assert found.nearest.row == 3
    said: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
    assert "crop_png" not in said


def test_an_image_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    """What was kept of a broken frame is no picture."""
    store = store_at(str(tmp_path))
    made = evidence("bad", b"no image")
    made = msgspec.structs.replace(made, result=msgspec.structs.replace(made.result, worst=WORST))
    store.put(made, b"no image")
    assert explain(made, bank(), store, lambda _: None).crop_png is None


@pytest.mark.parametrize("seen", [True, False])
def test_crops_are_base64_in_json(seen: bool, tmp_path: Path) -> None:
    """What HTTP gives out decodes to what was made."""
    store = store_at(str(tmp_path))
    found = explain(kept(store, picture(200)), bank(), store, lambda _: picture(60) if seen else None)
    text = msgspec.json.encode(found)
    assert msgspec.json.decode(text, type=Explanation) == found
    assert base64.b64decode(msgspec.json.decode(text)["crop_png"]) == found.crop_png
    assert found.generation.sha256 == "5" * 64


def test_evidence_of_another_bank_is_not_explained_by_this_one(tmp_path: Path) -> None:
    """A row that the generation does not have, or a frame that is nowhere worst, is said and not looked up."""
    store = store_at(str(tmp_path))
    made = kept(store, picture(200))
    nowhere = msgspec.structs.replace(made, result=msgspec.structs.replace(made.result, worst=None))
    for other in (msgspec.structs.replace(made, nearest_row=4), nowhere):
        with pytest.raises(FeedbackError, match=r"frame 'bad': its evidence names row \d of generation 2, which has 4"):
            explain(other, bank(), store, lambda _: None)
