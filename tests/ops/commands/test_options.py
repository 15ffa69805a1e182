"""What commands share: examples as `--help` shows them, one JSON object a line, names as they are."""

import json

import pytest
from rich.table import Table

from patchline.ops.commands._options import defects_in_words, examples, plain_console, print_json


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


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """What looks like markup or like an emoji's code is neither, in lines and in tables."""
    table = Table("[bold]kind[/]")
    table.add_row("[/x]")
    plain_console().print("[red]part :key:", table)
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("[red]part :key:", "[bold]kind[/]", "[/x]"))


def test_known_defects_in_words_begin_with_the_lowest() -> None:
    """Those that an update comes nearest to hiding are named, the others counted; what has no ratio is left out."""
    assert defects_in_words({}) == defects_in_words({"a": None}) == ""
    said = defects_in_words({"hole": 2.0, "scratch": 1.126, "dent": 3.0, "rim": None}, most=2)
    assert said.splitlines() == [
        "",
        "known defect scratch: 1.13 of the threshold",
        "known defect hole: 2.00 of the threshold",
        "and 1 more that score higher",
    ]
