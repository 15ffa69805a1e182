"""A plugin of pytest that tells the run of a mutant what it saw: whose module was imported, and which test failed."""

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

MODULE = "PATCHLINE_MUTANT_MODULE"
TOLD = "PATCHLINE_MUTANT_TOLD"

_told: dict[str, Any] = {"file": None, "imported": False, "passed": 0, "failed": None, "error": None}


def _tell() -> None:
    path = Path(os.environ[TOLD])
    path.with_suffix(".new").write_text(json.dumps(_told))
    path.with_suffix(".new").replace(path)  # this process may be killed meanwhile


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Say, before anything of the product runs, which file the mutated module would come from."""
    try:
        spec = importlib.util.find_spec(os.environ[MODULE])
        _told["file"] = spec and spec.origin
    except ImportError as error:
        _told["error"] = str(error)
    _tell()


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a file of tests that could not be imported."""
    if report.failed and _told["failed"] is None:
        _told["failed"] = report.nodeid


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note the first test that failed, and how many passed."""
    if report.failed and _told["failed"] is None:
        _told["failed"] = report.nodeid
    _told["passed"] += report.when == "call" and report.passed
    _tell()


def pytest_sessionfinish() -> None:
    """Say which file the module did come from, where a test imported it."""
    module = sys.modules.get(os.environ[MODULE])
    if module is not None:
        _told.update(imported=True, file=module.__file__)
    _tell()
