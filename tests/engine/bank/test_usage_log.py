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


@pytest.mark.parametrize("content", [b'{"f": ["one"]}', b"", b"[" * 100_000, b'{"f": [1', b"\xff", b'{"f": 1}'])
def test_a_damaged_record_costs_what_it_held(tmp_path: Path, content: bytes) -> None:
    """The other records of its day are read; which file it is, and why, is said until it is gone."""
    log = UsageLog(tmp_path)
    for worker, day in (("a", "2026-02-01"), ("b", "2026-02-01"), ("a", "2026-02-02")):
        log.write(day, worker, {"f": {1}})
    (tmp_path / "usage" / "2026-02-01.b.json").write_bytes(content)
    assert log.read() == {"2026-02-01": {"f": {1}}, "2026-02-02": {"f": {1}}}
    assert list(log.damaged) == ["2026-02-01"]
    where, why = log.damaged["2026-02-01"]
    assert where == f"{tmp_path}/usage/2026-02-01.b.json"
    assert why.endswith("; expected rows in use, by frame")
    (tmp_path / "usage" / "2026-02-01.b.json").unlink()
    log.read()
    assert log.damaged == {}


def test_a_record_of_terabytes_is_not_read(tmp_path: Path) -> None:
    """Nor a pipe: both are records that are damaged."""
    log = UsageLog(tmp_path)
    log.write("2026-02-01", "a", {})
    with (tmp_path / "usage" / "2026-02-02.a.json").open("wb") as file:
        file.truncate(2**43)
    (tmp_path / "usage" / "2026-02-03.a.json").symlink_to("/dev/zero")
    assert list(log.read()) == ["2026-02-01", "2026-02-02"]
    assert list(log.damaged) == ["2026-02-02"]


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A file in the place of the folder is an error that names what was to be written."""
    log = UsageLog(tmp_path)
    (tmp_path / "usage").write_text("a file where the folder should be")
    with pytest.raises(BankFileError, match=r"usage/2026-02-01\.a\.json: cannot be written"):
        log.write("2026-02-01", "a", {})
