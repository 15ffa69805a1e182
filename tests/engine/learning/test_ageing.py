"""Rows that nothing uses leave: who decides by what, never too many, and a replay gives the same bank."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from patchline.engine.bank.events import Aged, ConfirmedGood, Fitted, StoredFrame
from patchline.engine.bank.memory_bank import FrameOrigin, MemoryBank
from patchline.engine.bank.store import GenerationStore
from patchline.engine.bank.usage_log import UsageLog, UsedRows
from patchline.engine.errors import LearningError
from patchline.engine.fitting.fit import FitReport
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.learning.ageing import fit_rows_kept, unused_rows, window
from patchline.engine.learning.learner import Learner
from patchline.engine.learning.reference_frames import ReferenceFrames
from patchline.engine.learning.replay import replayed
from patchline.engine.learning.requests import Ageing
from patchline.engine.search.factory import SearchKind
from tests.engine.conftest import textures
from tests.engine.learning_worlds import SCALE, confirm, confirmation, new_store, unlearn
from tests.engine.learning_worlds import fitted as small_bank

DAYS = ("2026-03-01", "2026-03-02", "2026-03-05")
TODAY = "2026-03-06"


@pytest.fixture
def store(tmp_path: Path) -> GenerationStore:
    return new_store(tmp_path / "part")


def of(bank: MemoryBank) -> list[tuple[str, int]]:
    return [bank.provenance(row) for row in range(len(bank.rows))]


def grouped(rows: list[tuple[str, int]]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for frame, patch in rows:
        found.setdefault(frame, set()).add(patch)
    return found


def age(learner: Learner, rows: tuple[tuple[str, int], ...], feedback_id: str = "ageing") -> MemoryBank:
    request = Ageing(feedback_id=feedback_id, operator="policy", time=f"{TODAY}T01:00:00+00:00", rows=rows)
    for _ in learner.age(request):
        pass
    return learner.commit()


def test_rows_unused_on_the_last_days_of_inspection_may_leave(store: GenerationStore) -> None:
    """Any worker's use counts, on any of the days; days without inspection do not, and young rows stay."""
    learner = Learner.open(store)
    for number in (1, 2):
        confirm(learner, confirmation(number))
    confirm(learner, confirmation(3, time="2026-03-02T00:30:00+02:00"))  # the first of March, in UTC
    bank, log = learner.bank, UsageLog(store.where)
    rows = of(bank)
    old = [row for row in rows if row[0] in ("f1", "f2")]
    assert len(old) >= 6
    in_use = [row for row in rows if row[0].startswith("fit")] + old[:4]
    log.write(DAYS[0], "a", grouped(old[4:]))
    log.write(DAYS[1], "a", grouped(in_use[:-2]))
    log.write(DAYS[2], "a", {})
    log.write(DAYS[2], "b", grouped(in_use[-2:]))
    usage = log.read()
    assert list(usage) == list(DAYS)
    assert learner.unused(usage, days=2, today=TODAY) == tuple(old[4:]) + tuple(r for r in rows if r[0] == "f3")
    assert learner.unused(usage, days=3, today=TODAY) == ()
    assert learner.unused(usage, days=4, today=TODAY) == ()
    assert learner.unused(usage, days=3, today=DAYS[2]) == ()
    log.write(TODAY, "a", grouped(old))
    assert not set(old) & set(learner.unused(log.read(), days=2, today=TODAY))
    before = learner.unused(usage, days=2, today=TODAY)
    ahead = usage | {"2099-01-01": grouped(old)}
    assert learner.unused(ahead, days=2, today=TODAY) == before, "a clock that was wrong once keeps no row for years"
    log.forget_before(DAYS[1])
    assert list(log.read()) == [*DAYS[1:], TODAY]


def test_half_of_the_fit_always_stays(store: GenerationStore) -> None:
    """Where nothing of the fit is used, what it chose first stays; asking for more is refused."""
    learner = Learner.open(store)
    fitted_rows = of(learner.bank)
    usage: dict[str, dict[str, set[int]]] = {day: {} for day in DAYS}
    leaving = learner.unused(usage, days=3, today=TODAY)
    assert leaving == tuple(fitted_rows[12:])
    with pytest.raises(LearningError, match="11 rows of the fit would be left, expected 12 or more of 24"):
        age(learner, tuple(fitted_rows[11:]))
    assert of(age(learner, leaving)) == fitted_rows[:12]
    assert learner.unused(usage, days=3, today=TODAY) == ()


def test_what_has_aged_is_replayed_and_unlearned_exactly(store: GenerationStore, tmp_path: Path) -> None:
    """The event names the rows: a replay gives every bank again; unlearning gives the bank that never saw the frame.

    The reference frames follow: the threshold is that of the calibration frames scored anew.
    """
    learner, never_saw = Learner.open(store), Learner.open(new_store(tmp_path / "other"))
    for number in (1, 2, 3):
        confirm(learner, confirmation(number))
        if number != 2:
            confirm(never_saw, confirmation(number))
    rows = [row for row in of(learner.bank) if row[0] in ("fit-0", "f1", "f2")][::2]
    bank = age(learner, tuple(rows))
    assert not set(rows) & set(of(bank))
    event = store.manifest().event
    assert isinstance(event, Aged)
    assert event.rows == tuple(rows)
    references = ReferenceFrames(learner._head.state)
    for name, values in small_bank()[1].items():
        references = references.with_frame(name, "calibration", values)
    assert bank.calibration.scores.tolist() == np.sort(references.scores(SCALE, bank.recipe.neighbours)).tolist()
    confirm(learner, confirmation(4))

    theirs = set(of(never_saw.bank))
    age(never_saw, tuple(row for row in rows if row[0] != "f2" and row in theirs))
    confirm(never_saw, confirmation(4))
    unlearned = unlearn(learner, "f2")
    assert unlearned.sha256 == never_saw.bank.sha256
    assert list(replayed(store)) == [(number, None) for number in range(1, 8)]
    assert Learner.open(store).bank.sha256 == unlearned.sha256


def test_records_of_use_that_are_none_are_named(store: GenerationStore, tmp_path: Path) -> None:
    """Their day is known as one of which not all is known: rows in use would seem unused."""
    (tmp_path / "part" / "usage").mkdir()
    (tmp_path / "part" / "usage" / "2026-03-01.a.json").write_text("[1]")
    (tmp_path / "part" / "usage" / "notes.txt").write_text("passed over")
    log = UsageLog(store.where)
    assert log.read() == {"2026-03-01": {}}
    assert log.damaged["2026-03-01"][0].endswith("usage/2026-03-01.a.json")


@pytest.mark.parametrize("kind", ["faiss", "pruned"])
def test_the_inspector_notes_the_rows_that_were_nearest(fitted: FitReport, kind: SearchKind) -> None:
    """Every row that is nearest to a patch of an inspected frame, also over a swap, once; none without the policy."""
    recipe = msgspec.structs.replace(fitted.bank.recipe, unused_days=30)
    bank = replace(fitted.bank, recipe=recipe)
    inspector = Inspector({"texture": bank}, device="cpu", search=kind)
    frames = [("texture", inspector.prepare("texture", image)) for _, image in textures(3, start=70)]
    inspector.inspect(frames)
    inspector.swap("texture", replace(bank, generation=2))
    nearest = set()
    for name, image in frames:
        patches = np.concatenate([band.numpy() for band in inspector._tiled[name].bands(image)])
        distances = ((patches[:, None] - bank.values()[None]) ** 2).sum(2)
        nearest |= {bank.provenance(int(row)) for row in distances.argmin(1)}
    assert {(frame, p) for frame, found in inspector.take_used("texture").items() for p in found} == nearest
    assert inspector.take_used("texture") == {}
    without = Inspector({"texture": fitted.bank}, device="cpu", search=kind)
    without.inspect(frames)
    assert without.take_used("texture") == {}


@pytest.mark.parametrize(("rows", "kept"), [(1, 1), (2, 1), (3, 2), (24, 12), (25, 13)])
def test_half_of_the_fit_rounded_up_is_kept(rows: int, kept: int) -> None:
    """And one row at least."""
    bank = small_bank()[0]
    values = np.zeros((rows, bank.rows.shape[1]), dtype=np.int16)
    frame, patch = np.divmod(np.arange(rows, dtype=np.int32), np.int32(16))
    ((of_fit, least),) = fit_rows_kept(replace(bank, rows=values, row_frame=frame, row_patch=patch))
    assert (len(of_fit), least) == (rows, kept)


def test_the_window_is_of_whole_days_of_inspection() -> None:
    """Today is not over; days without inspection do not count; where there are too few, there is none."""
    usage: dict[str, UsedRows] = {"2026-01-01": {}, "2026-01-05": {}, "2026-01-09": {}}
    assert window(usage, 2, "2026-01-09") == "2026-01-01"
    assert window(usage, 2, "2026-01-10") == "2026-01-05"
    assert window(usage, 3, "2026-01-10") == "2026-01-01"
    assert window(usage, 3, "2026-01-09") is None
    assert window({}, 1, "2026-01-09") is None


@pytest.mark.parametrize(
    ("time", "stays"),
    [
        ("2026-01-05T00:00:00+00:00", True),
        ("2026-01-04T23:59:59+00:00", False),
        ("2026-01-05T00:30:00+02:00", False),
        ("2026-01-04T23:30:00-02:00", True),
        ("2026-01-05T00:30:00", True),
        ("", False),
        ("yesterday", False),
    ],
)
def test_rows_that_joined_within_the_window_stay(time: str, stays: bool) -> None:
    """By the day in UTC; where the time is not known, as for a fit long ago, they are old."""
    first = small_bank()[0]
    frames = (*first.frames, FrameOrigin(name="f1", generation=2))
    row_frame = first.row_frame.copy()
    row_frame[-1] = len(frames) - 1
    bank = replace(first, generation=2, frames=frames, row_frame=row_frame)
    usage: dict[str, UsedRows] = {"2026-01-05": {}, "2026-01-06": {}}
    event = ConfirmedGood(frame=StoredFrame(name="f1", sha256="", bytes=0), score=1.0, time=time)
    unused = unused_rows(bank, first, [Fitted(), event], usage, days=2, today="2026-01-07")
    assert (bank.provenance(len(bank.rows) - 1) in unused) is not stays
