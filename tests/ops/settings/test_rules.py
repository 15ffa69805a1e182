"""Rules of alarms for recipes and cameras: the nearest wins, key by key, and `check` finds what makes no sense."""

from pathlib import Path

import pytest

from patchline.ops.service.preflight import check_settings
from patchline.ops.settings.file import load_settings
from patchline.stream.model.alarm import AlarmConfig

FILE = """\
recipes:
  tile: {bank: tile, alarms: {rejects: 2}}
  plate: {bank: plate}
cameras:
  gate: {source: kafka, recipe: tile, alarms: {passes: 5}}
  door: {source: folder, recipe: plate, path: images, alarms: {rejects: 1, window: 1}}
  yard: {source: kafka, recipe: tile}
  roof: {source: video, recipe: plate, path: a.mp4, alarms:}
alarms: {rejects: 4, window: 8, passes: 16}
"""


def test_the_nearest_of_each_key_wins(tmp_path: Path) -> None:
    """A camera's own, its recipe's, the general one; a camera that nobody lists takes its recipe's."""
    file = tmp_path / "line.yaml"
    file.write_text(FILE)
    rules = load_settings(file).alarm_rules()
    assert rules.general == AlarmConfig(k=4, n=8, m=16)
    assert rules.of("gate", "tile") == AlarmConfig(k=2, n=8, m=5)
    assert rules.of("door", "plate") == AlarmConfig(k=1, n=1, m=16)
    assert rules.of("yard", "tile") == rules.of("unknown", "tile") == AlarmConfig(k=2, n=8, m=16)
    assert rules.of("roof", "plate") == rules.of("unknown", "other") == rules.general
    assert load_settings(file).alarms.to_limits(["gate"]).always == {"gate"}


@pytest.mark.parametrize(
    ("before", "after", "line", "key", "found"),
    [
        ("rejects: 2}}", "rejects: 9}}", "2", "recipes.tile.alarms", "9 rejects (k) among 8 frames"),
        ("passes: 5", "window: 1", "5", "cameras.gate.alarms", "2 rejects (k) among 1 frames"),
        ("window: 1}", "window: 0}", "6", "cameras.door.alarms.window", "0"),
        ("passes: 5", "pases: 5", "5", "cameras.gate.alarms.pases", "unknown key"),
    ],
)
def test_a_rule_that_makes_no_sense_is_found(
    tmp_path: Path, before: str, after: str, line: str, key: str, found: str
) -> None:
    """With its line, its key, and what it comes to."""
    file = tmp_path / "line.yaml"
    file.write_text(FILE.replace(before, after))
    problems = [p for p in check_settings(file).problems if "alarms" in p.key]
    assert [(p.place, p.key) for p in problems] == [(f"{file}:{line}", key)], problems
    assert found in problems[0].found
