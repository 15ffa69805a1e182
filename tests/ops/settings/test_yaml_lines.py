"""A YAML file as plain data with lines, within bounds whatever it says."""

import time
from pathlib import Path

import pytest

from patchline.ops.errors import SettingsError
from patchline.ops.settings.file import read_settings
from patchline.ops.settings.yaml_lines import (
    MAX_DEPTH,
    MAX_FILE_BYTES,
    MAX_PROBLEMS,
    MAX_VALUES,
    Document,
    read_document,
)

LEAST = "recipes: {tile: {bank: tile}}\n"


def read(folder: Path, text: str) -> Document:
    """A document of this text."""
    file = folder / "line.yaml"
    file.write_text(text)
    return read_document(file)


def multiplied(levels: int, *, merged: bool) -> str:
    """Aliases of aliases: nine times as much with each level."""
    text = "x-0: &a0 {k: 1}\n"
    for level in range(1, levels):
        of = ", ".join([f"*a{level - 1}"] * 9)
        text += f"x-{level}: &a{level} " + (f"{{<<: [{of}], k{level}: 1}}\n" if merged else f"[{of}]\n")
    return text + LEAST


def test_aliases_that_multiply_are_refused_in_time(tmp_path: Path) -> None:
    """A few lines stand for more values than any memory holds; merged keys never multiply."""
    began = time.process_time()
    with pytest.raises(SettingsError, match=rf"line\.yaml:\d+: more than {MAX_VALUES:,} values once aliases"):
        read(tmp_path, multiplied(40, merged=False))
    assert read(tmp_path, multiplied(40, merged=True)).data["x-39"] == {"k": 1} | {f"k{n}": 1 for n in range(1, 40)}
    assert time.process_time() - began < 20


@pytest.mark.parametrize(
    "text",
    ["a: " + "[" * 100_000, "a: " + "{b: " * 100_000, "- " * 100_000, "? " * 50_000, f"a: {'[' * 40}{']' * 40}"],
    ids=["lists", "mappings", "blocks", "keys", "whole"],
)
def test_nesting_without_end_is_refused(tmp_path: Path, text: str) -> None:
    """Never by an error of the interpreter."""
    with pytest.raises(SettingsError, match=r"line\.yaml.*(nested|no keys)"):
        read(tmp_path, text)


def test_what_people_write_stays_far_below_the_bounds(tmp_path: Path) -> None:
    """A thousand cameras from one anchor."""
    cameras = "".join(f"  camera-{n}: {{<<: *one, path: p{n}}}\n" for n in range(1000))
    text = f"x-one: &one {{source: folder, recipe: tile}}\n{LEAST}cameras:\n{cameras}"
    file = tmp_path / "line.yaml"
    file.write_text(text)
    reading = read_settings(file)
    assert reading.problems == ()
    assert reading.settings is not None
    assert len(reading.settings.cameras) == 1000
    assert reading.document.lines["cameras", "camera-999", "path"] == 1003
    assert reading.document.lines["cameras", "camera-999", "source"] == 1
    assert MAX_DEPTH > 8


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    """Nor is one that only looks like settings at its beginning."""
    with pytest.raises(SettingsError, match=f"more than {MAX_FILE_BYTES:,} bytes"):
        read_document(Path("/dev/zero"))
    with pytest.raises(SettingsError, match="more than"):
        read(tmp_path, LEAST + "#" * MAX_FILE_BYTES)


def test_merged_keys_follow_yaml(tmp_path: Path) -> None:
    """Own keys before merged ones, an earlier mapping before a later one; what `<<` merges must be mappings."""
    text = "x-a: &a {k: 1, m: 1}\nx-b: &b {k: 2, n: 2}\nc: {<<: [*a, *b, *a], m: 3}\nd: {<<: *a}\ne: {<<: 3}\n"
    document = read(tmp_path, text)
    assert document.data["c"] == {"k": 1, "n": 2, "m": 3}
    assert document.data["d"] == {"k": 1, "m": 1}
    (problem,) = document.problems
    assert (problem.place.rpartition(":")[2], problem.key) == ("5", "e")
    assert document.lines["c", "m"] == 3
    assert document.lines["c", "n"] == 2


def test_a_key_that_is_given_twice_is_named_once(tmp_path: Path) -> None:
    """With both lines, also where its mapping is used again by an alias."""
    document = read(tmp_path, "a: &a\n  k: 1\n  k: 2\nb: *a\nc: {<<: *a}\n")
    (problem,) = document.problems
    assert (problem.place.rpartition(":")[2], problem.key) == ("3", "a.k")
    assert "first on line 2" in problem.found


def test_aliases_to_themselves_end(tmp_path: Path) -> None:
    """As a value it is a problem; as merged keys it adds nothing."""
    document = read(tmp_path, "a: &a {b: *a}\nc: &c {<<: *c, d: 1}\n")
    assert [problem.key for problem in document.problems] == ["a.b"]
    assert document.data["c"] == {"d": 1}


def test_so_many_problems_are_told(tmp_path: Path) -> None:
    """A file of nothing but mistakes is told in bounds, with how many more there are."""
    file = tmp_path / "line.yaml"
    file.write_text(LEAST + "".join(f"k{n}: 1\n" for n in range(1000)))
    problems = read_settings(file).problems
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1].found == "900 problems more"
    file.write_text("a: 1\n" * 1000)
    assert len(read_document(file).problems) == MAX_PROBLEMS


def test_anchors_have_a_place(tmp_path: Path) -> None:
    """Top-level keys that begin with `x-` are passed over, whatever they hold; deeper ones are unknown."""
    file = tmp_path / "line.yaml"
    file.write_text(f"x-notes: [what, ever]\nx-kafka: &k {{group: g}}\n{LEAST}kafka: {{<<: *k}}\nhttp: {{x-y: 1}}\n")
    reading = read_settings(file)
    assert [problem.key for problem in reading.problems] == ["http.x-y"]
    file.write_text(file.read_text().replace("http: {x-y: 1}\n", ""))
    settings = read_settings(file).settings
    assert settings is not None
    assert settings.kafka.group == "g"


def test_a_variable_that_nests_without_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no JSON that could be read."""
    monkeypatch.setenv("PATCHLINE__LIMITS__FRAME_REFERENCES", "[" * 100_000)
    file = tmp_path / "line.yaml"
    file.write_text(LEAST)
    (problem,) = read_settings(file).problems
    assert problem.place == "environment PATCHLINE__LIMITS__FRAME_REFERENCES"
