"""What commands share: examples as `--help` shows them, and one JSON object a line."""

import json

import pytest

from patchline.ops.commands._options import examples, print_json


def test_examples_are_paragraphs_under_a_heading() -> None:
    """Each command line is a paragraph of its own: the renderer would join the lines of one."""
    heading, *lines = examples("patchline a", "patchline b --json").split("\n\n")
    assert heading == "[bold]Examples[/]"
    assert lines == ["[cyan]patchline a[/]", "[cyan]patchline b --json[/]"]


def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed can be read line by line, in order."""
    print_json([{"generation": 1, "ok": True}, {"generation": 2, "ok": False}])
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [{"generation": 1, "ok": True}, {"generation": 2, "ok": False}]
