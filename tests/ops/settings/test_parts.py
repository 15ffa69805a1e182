"""What of a faulty file stands."""

from pathlib import Path

from patchline.ops.settings.file import read_settings
from patchline.ops.settings.parts import Parts, parts_of


def parts(folder: Path, text: str) -> Parts:
    """The parts of a file."""
    file = folder / "line.yaml"
    file.write_text(text)
    return parts_of(read_settings(file))


def test_a_fault_takes_its_own_part_away_and_no_other(tmp_path: Path) -> None:
    """One run can then look into everything else."""
    text = (
        "recipes: {tile: {bank: tile}, plate: {bank: 3}}\n"
        "cameras: {a: {source: kafka, recipe: tile}, b: {source: rstp}}\n"
        "kafka: {bootstrap: b:1, start: never}\nredis: {url: 'redis://h'}\nhttp:\n"
    )
    found = parts(tmp_path, text)
    assert set(found.recipes) == {"tile"}
    assert found.recipe_names == {"tile", "plate"}
    assert set(found.cameras) == {"a"}
    assert found.kafka is None
    assert found.redis is not None
    assert found.http is not None
    assert found.http.port == 9480


def test_of_a_file_without_fault_everything_stands(tmp_path: Path) -> None:
    """The very sections of the settings."""
    found = parts(tmp_path, "recipes: {tile: {bank: tile}}\nlimits: {batch_size: 3}\n")
    assert found.limits is not None
    assert found.limits.batch_size == 3
    assert set(found.recipes) == found.recipe_names == {"tile"}


def test_what_is_no_mapping_has_no_parts(tmp_path: Path) -> None:
    """Text where a section should be is no section."""
    found = parts(tmp_path, "recipes: text\ncameras: [a]\nkafka: 3\n")
    assert (found.recipes, found.recipe_names, found.cameras, found.kafka) == ({}, frozenset(), {}, None)
