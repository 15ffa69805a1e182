"""Which rows were in use, day by day."""

from pathlib import Path

import pytest

from patchline.engine.bank.usage_log import UsageLog
from patchline.engine.errors import BankFileError


def test_workers_of_one_day_are_joined(tmp_path: Path) -> None:
    """A worker's later record replaces its earlier one; days come in order, and frames keep their own patches."""
    log = UsageLog(tmp_path)
    assert log.read() == {}
    log.write("2026-02-02", "b", {"f": {1}})
    log.write("2026-02-01", "a", {"f": {9}})
    log.write("2026-02-01", "a", {"f": {2, 1}, "g": {5}})
    log.write("2026-02-01", "b", {"f": {3}, "h": set()})
    assert log.read() == {"2026-02-01": {"f": {1, 2, 3}, "g": {5}, "h": set()}, "2026-02-02": {"f": {1}}}
    assert list(log.read()) == ["2026-02-01", "2026-02-02"]
    assert (tmp_path / "usage" / "2026-02-01.a.json").read_text() == '{"f":[1,2],"g":[5]}'


def test_earlier_days_are_forgotten(tmp_path: Path) -> None:
    """The day itself stays, and so do files that are no records."""
    log = UsageLog(tmp_path)
    for day in ("2026-02-01", "2026-02-02", "2026-02-03"):
        log.write(day, "a", {})
    (tmp_path / "usage" / "notes.txt").write_text("mine")
    log.forget_before("2026-02-02")
    assert list(log.read()) == ["2026-02-02", "2026-02-03"]
    assert (tmp_path / "usage" / "notes.txt").exists()


def test_what_cannot_be_written_or_read_is_said(tmp_path: Path) -> None:
    """A folder in the place of a file, and a record that is none, are errors that name the file."""
    log = UsageLog(tmp_path)
    (tmp_path / "usage").write_text("a file where the folder should be")
    with pytest.raises(BankFileError, match=r"usage/2026-02-01\.a\.json: cannot be written"):
        log.write("2026-02-01", "a", {})
    (tmp_path / "usage").unlink()
    log.write("2026-02-01", "a", {})
    (tmp_path / "usage" / "2026-02-01.a.json").write_text('{"f": ["one"]}')
    with pytest.raises(BankFileError, match=r"usage/2026-02-01\.a\.json: cannot be read.*expected rows in use"):
        log.read()
