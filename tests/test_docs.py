"""What the pages say can be found: files, links and commands that they name exist."""

import re
import subprocess
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from tests.services.process import REPOSITORY

PAGES = [
    REPOSITORY / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    if not name.startswith("tests/data/")
]
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_what_a_page_names_exists(page: Path) -> None:
    """Paths of the repository, relative links and targets of make."""
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:engine|stream|ops|tests|deploy|\.ci|\.github)/[\w./-]*)`", text)
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert [link for link in links if link and not (page.parent / link).exists()] == []
    made = set(re.findall(r"`make ([a-z][a-z0-9-]*)(?![\w/.])", text)) | set(
        re.findall(r"^\$ make ([a-z][a-z0-9-]*)(?![\w/.])", text, re.M)
    )
    assert made <= TARGETS


def test_the_example_in_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines of the README fit, inspect, show a map and evaluate; new images are named by what they show."""
    (example,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    rng = np.random.default_rng(0)
    for name in [
        *(f"good/{n}.png" for n in range(101)),
        *(f"new/{kind}-{n}.png" for kind in ("good", "hole") for n in (1, 2)),
    ]:
        image = rng.integers(90, 110, (48, 64, 3), dtype=np.uint8)
        if "hole" in name:
            image[16:32, 16:32] = 0
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(image).save(path)
    monkeypatch.chdir(tmp_path)
    exec(example, {})  # noqa: S102 - the reader's own page
    verdicts, auroc = capsys.readouterr().out.splitlines()[-2:]
    assert (verdicts, auroc) == ("['pass', 'pass', 'reject', 'reject']", "1.0")
    assert (tmp_path / "map.png").is_file()
    assert (tmp_path / "banks" / "bottle" / "generation-000001.json").is_file()
