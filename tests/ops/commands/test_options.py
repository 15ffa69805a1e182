"""What commands share: examples as `--help` shows them, one JSON object a line, names as they are."""

import json

import pytest
from rich.table import Table

from patchline.ops.commands._options import (
    complain,
    defects_in_words,
    examples,
    plain_console,
    print_json,
    say,
    say_json,
    say_lines,
)


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


HOSTILE = "line-1\x1b[2J\nline-2 \x9b31m\u202eok"


def test_names_reach_no_terminal_as_controls(capsys: pytest.CaptureFixture[str]) -> None:
    """In lines, complaints, JSON and tables: each is one line, and nothing in it moves, colours or turns."""
    say(HOSTILE)
    say_lines(f"a\nb {HOSTILE[:8]}")
    say(HOSTILE, err=True)
    complain("error", HOSTILE)
    print_json([{"camera": HOSTILE}])
    say_json(json.dumps({"camera": HOSTILE}, ensure_ascii=False).encode())
    table = Table(HOSTILE, box=None)
    table.add_row(HOSTILE)
    console = plain_console()
    console.print(HOSTILE, soft_wrap=True)
    console.print(table, width=200)
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 1 + 2 + 1 + 1 + 1 + 2
    assert len(shown.err.splitlines()) == 2
    assert all(letter == "\n" or letter.isprintable() for letter in shown.out + shown.err)
    assert [json.loads(line)["camera"] for line in shown.out.splitlines() if line[0] == "{"] == [HOSTILE, HOSTILE]


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
