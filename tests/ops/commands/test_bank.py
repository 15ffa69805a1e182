"""`patchline bank` on a disk and on an S3-compatible server: what happened to a bank, and how to go back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from patchline.engine.bank.store import GenerationStore
from patchline.engine.bank.usage_log import UsageLog
from patchline.engine.learning.learner import Learner
from patchline.ops.cli import app
from patchline.ops.settings.file import load_settings
from tests.engine.learning_worlds import confirm, confirmation, new_store, patches, unlearn
from tests.services.s3 import s3_bucket


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with s3_bucket("banks") as url:
        yield url


def bank(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bank", *(str(a) for a in arguments)], env={"COLUMNS": "200"})


def told(*arguments: object) -> list[dict[str, Any]]:
    done = bank(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_bank_is_looked_into_taken_back_verified_and_exported(tmp_path: Path) -> None:
    """Each command does what it says, in words and as JSON; the store stays whole."""
    url = str(tmp_path / "part")
    store = new_store(url)
    learner = Learner.open(store)
    for _ in learner.confirm_defect(confirmation(50, shift=300, frame="scratch")):
        pass
    learner.commit()
    banks = {number: confirm(learner, confirmation(number)) for number in (1, 2, 3)}  # generations 3, 4, 5

    lines = told("log", url)
    assert [line["what"] for line in lines] == [
        "fitted",
        "known defect scratch",
        "learned f1",
        "learned f2",
        "learned f3",
    ]
    assert (lines[2]["operator"], lines[2]["reason"], lines[2]["time"]) == (
        "kim",
        "new supplier",
        "2026-01-02T00:00:01Z",
    )
    assert lines[3]["rows"] - lines[2]["rows"] == lines[3]["rows_more"] > 0
    assert "learned f2" in bank("log", url, "--newest", 2).stdout
    shown = told("show", url, 4)[0]
    assert (shown["generation"], shown["learned"], shown["known_defects"]) == (4, ["f1", "f2"], ["scratch"])
    ratio = shown["defect_ratios"]["scratch"]
    assert ratio > 1
    assert f"1: scratch ({ratio:.2f} of the threshold)" in bank("show", url, 4).stdout
    changed = told("diff", url, 3, 5)[0]
    assert [frame["frame"] for frame in changed["frames"]] == ["f2", "f3"]
    assert sum(frame["added"] - frame["removed"] for frame in changed["frames"]) == lines[4]["rows"] - lines[2]["rows"]
    assert "f3" in bank("diff", url, 3, 5).stdout

    assert "its recipe lets no row age; expected --unused-days" in bank("age", url).stderr
    assert "found use noted on 0 whole days" in bank("age", url, "--unused-days", 2).stderr
    for day in ("2026-03-01", "2026-03-02"):
        UsageLog(url).write(day, "worker", {f"fit-{number}": set(range(16)) for number in range(6)})
    assert told("age", url, "--unused-days", 2, "--dry-run")[0]["rows"] == len(store.bank(1).rows)
    assert told("rollback", url, 3, "--dry-run")[0]["generation"] is None
    rolled = told("rollback", url, 3, "--operator", "lee", "--reason", "wrong lamp")[0]
    assert (rolled["generation"], rolled["sha256"]) == (6, banks[1].sha256)
    assert told("unlearn", url, "f1", "--operator", "lee")[0]["sha256"] == store.bank(1).sha256
    assert [(line["what"], line["operator"]) for line in told("log", url)[5:]] == [
        ("rolled back to 3", "lee"),
        ("unlearned f1", "lee"),
    ]
    assert "are the same bank" in bank("diff", url, 1, 7).stdout
    assert [line["ok"] for line in told("verify", url)] == [True] * 7

    out = tmp_path / "exported"
    assert told("export", url, out, "--generation", 5)[0]["sha256"] == banks[3].sha256
    again = Learner.open(GenerationStore(out))
    assert (again.bank.sha256, set(again.chain.defects)) == (banks[3].sha256, {"scratch"})
    assert confirm(again, confirmation(4)).sha256 == confirm(_rolled_to_5(url), confirmation(4)).sha256
    assert unlearn(again, "f4").sha256 == banks[3].sha256
    assert [line["ok"] for line in told("verify", out)] == [True] * 4
    assert "every sum is right" in bank("verify", out).stdout
    assert "holds a memory bank already" in bank("export", url, out).output


def _rolled_to_5(url: str) -> Learner:
    told("rollback", url, 5)
    return Learner.open(GenerationStore(url))


def test_a_bank_on_s3_is_taken_back_verified_and_exported(s3: str, tmp_path: Path) -> None:
    """URLs are places like folders, both to read and to write."""
    url = f"{s3}/part"
    banks = [confirm(learner := Learner.open(new_store(url)), confirmation(1)), confirm(learner, confirmation(2))]
    assert told("rollback", url, 2)[0]["sha256"] == banks[0].sha256
    assert [line["what"] for line in told("log", url)] == ["fitted", "learned f1", "learned f2", "rolled back to 2"]
    assert [line["ok"] for line in told("verify", url)] == [True] * 4
    assert told("export", url, f"{s3}/other")[0]["sha256"] == banks[0].sha256
    assert told("show", f"{s3}/other")[0]["rows"] == len(banks[0].rows)


def test_verify_tells_a_bank_that_is_not_what_its_events_give(tmp_path: Path) -> None:
    """Sums can be right and a generation still not be what its log says: its events are applied again."""
    store = new_store(tmp_path / "part")
    learner = Learner.open(store)
    for _ in learner.confirm_good(confirmation(1)):
        pass
    other = confirmation(1, patches=patches(77, shift=150)).patches
    assert learner._draft is not None
    learner._draft.patches["f1"] = other  # type: ignore[index]  # a draft is read-only; this one is stored beside rows that came from other embeddings
    learner.commit()
    done = bank("verify", store.where)
    assert done.exit_code == 1
    assert "generation 2 is not what its events give" in done.stdout
    kept = next(path for path in (tmp_path / "part").glob("generation-000002.*.safetensors"))
    kept.write_bytes(kept.read_bytes()[:-1])
    done = bank("verify", store.where)
    assert done.exit_code == 1
    assert f"{kept}: truncated" in done.stdout.replace("\n", "")
    (tmp_path / "part" / "generation-000001.json").unlink()
    assert "generation 1 is missing" in bank("verify", store.where).stdout.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("log", "{}/nowhere"), "{}/nowhere: holds no memory bank"),
        (("verify", "{}/nowhere"), "{}/nowhere: holds no memory bank"),
        (("show", "{}/part", 7), "{}/part: has no generation 7; it has 1"),
        (("diff", "{}/part", 1, 2), "{}/part: has no generation 2; it has 1"),
        (("rollback", "{}/part", 1), "generation 1: expected one before the newest"),
        (("unlearn", "{}/part", "x"), "frame 'x' has been neither learned, nor held"),
        (("unlearn", "{}/part", "fit-1"), "takes a refit"),
        (("export", "{}/part", "ftp://x/y"), "ftp://x/y: ftp cannot create a file exclusively; expected"),
        (("log", "s3://"), "s3://: "),
    ],
)
def test_what_cannot_be_done_is_one_message(tmp_path: Path, arguments: tuple[object, ...], said: str) -> None:
    """It names the folder or URL, what was found and what was expected; the exit status is 2, without a traceback."""
    new_store(tmp_path / "part")
    done = bank(*(str(a).format(tmp_path) for a in arguments))
    assert (done.exit_code, done.stdout) == (2, "")
    assert said.format(tmp_path) in done.stderr


def test_a_service_reads_banks_from_s3(s3: str, tmp_path: Path) -> None:
    """`recipes.NAME.bank` takes a URL as it is; relative folders still start at the file."""
    file = tmp_path / "patchline.yaml"
    file.write_text(f"recipes:\n  part: {{bank: {s3}/served}}\n  other: {{bank: other}}\nkafka: {{bootstrap: x:1}}\n")
    settings = load_settings(file)
    assert (settings.recipes["part"].bank, settings.recipes["other"].bank) == (f"{s3}/served", str(tmp_path / "other"))
    new_store(f"{s3}/served")
    done = CliRunner().invoke(app, ["check", str(file)])
    assert "recipes.part" not in done.output
    assert f"no folder {tmp_path / 'other'}" in done.output.replace("\n", "")
