"""What of learning stands where a bank's files are damaged."""

from pathlib import Path
from typing import cast

import pytest

from patchline.engine.inspection.inspector import Inspector
from patchline.ops.service.learning_assembly import drift_of
from patchline.ops.settings.cameras import RecipeSettings
from patchline.ops.settings.model import Settings
from patchline.stream.model.observer import Observer, StoredKind
from tests.engine.learning_worlds import new_store


class Told(Observer):
    """Notes the damaged files."""

    def __init__(self) -> None:
        self.damaged: list[tuple[str, str, str]] = []

    def damaged_file(self, what: StoredKind, where: str, why: str) -> None:
        self.damaged.append((what, where, why))


@pytest.mark.parametrize("how", ["altered", "truncated", "gone", "a folder"])
async def test_damaged_calibration_frames_cost_their_own_recipe_its_watch(tmp_path: Path, how: str) -> None:
    """The file is named; the other recipe is watched, and nothing keeps the worker from its start."""
    for name in ("whole", "damaged"):
        new_store(tmp_path / name)
    victim = min((tmp_path / "damaged" / "frames").iterdir())
    content = victim.read_bytes()
    victim.unlink()
    if how == "a folder":
        victim.mkdir()
    elif how != "gone":
        victim.write_bytes(content[:-1] + b"\xff" if how == "altered" else content[:-9])
    banks = {name: RecipeSettings(bank=str(tmp_path / name)) for name in ("whole", "damaged")}
    told = Told()
    drift = await drift_of(Settings(recipes=banks), cast(Inspector, None), told)
    assert drift is not None
    assert set(drift._references) == {"whole"}
    ((what, where, why),) = told.damaged
    assert (what, where) == ("calibration", "damaged")
    assert victim.name in why
    assert "drift is not watched" in why
