"""The demo's count against the truth, and the summary that it ends with."""

from datetime import UTC, datetime

import numpy as np
import pytest

from patchline.engine.types import Verdict
from patchline.ops.demo.defects import Defect, Kind
from patchline.ops.demo.summary import summary
from patchline.ops.demo.tally import Outcome, Tally, contrast_band
from patchline.ops.demo.web import Truth
from patchline.stream.model.result import Result

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCRATCHED = Truth(
    (Defect(kind=Kind.SCRATCH, contrast=0.3, top_px=0, left_px=0, mask=np.ones((2, 2), bool)),), np.ones((2, 2), bool)
)


def result(verdict: Verdict) -> Result:
    return Result(
        frame_id="f", camera="c", recipe="r", time=NOW, inspected_at=NOW, verdict=verdict, latency_ms=5.0, score=1.0
    )


@pytest.mark.parametrize(
    ("verdict", "truth", "outcome"),
    [
        (Verdict.PASS, Truth(), Outcome.PASS),
        (Verdict.REJECT, Truth(), Outcome.FALSE_REJECT),
        (Verdict.REJECT, SCRATCHED, Outcome.CAUGHT),
        (Verdict.PASS, SCRATCHED, Outcome.ESCAPE),
        (Verdict.REJECT, None, Outcome.REJECT),
        (Verdict.NOT_INSPECTED, SCRATCHED, Outcome.NOT_INSPECTED),
    ],
)
def test_a_verdict_is_held_against_the_truth(verdict: Verdict, truth: Truth | None, outcome: Outcome) -> None:
    """Rejecting what is good is a false reject, passing what is not an escape; without truth it is neither."""
    assert Tally().add(result(verdict), truth) is outcome


def test_the_summary_adds_up() -> None:
    """Frames are the sum of all outcomes, and the tables count each defect in view once a frame."""
    tally = Tally()
    for verdict, truth in [(Verdict.REJECT, SCRATCHED), (Verdict.PASS, SCRATCHED), (Verdict.PASS, Truth())]:
        tally.add(result(verdict), truth)
    told = summary(tally, 0)
    assert (told["frames"], told["rejects"], told["escapes"], told["false_rejects"]) == (3, 1, 1, 0)
    assert told["good_frames"] + told["defective_frames"] == told["frames"]
    by_contrast = {row["name"]: (row["planted"], row["rejected"], row["escaped"]) for row in told["by_contrast"]}
    assert by_contrast["0.2-0.4"] == (2, 1, 1)
    assert {row["name"]: row["escaped"] for row in told["by_kind"]}["scratch"] == 1


def test_false_rejects_are_counted_by_the_light() -> None:
    """Good frames are counted before, while and after the lamp ages, by the truth of each frame."""
    tally = Tally()
    for verdict, aged in [
        (Verdict.PASS, 0.0),
        (Verdict.REJECT, 0.4),
        (Verdict.REJECT, 1.1),
        (Verdict.PASS, 2.0),
        (Verdict.PASS, 9.0),
    ]:
        tally.add(result(verdict), Truth(aged=aged))
    told = [(row["good_frames"], row["false_rejects"]) for row in summary(tally, 0)["by_light"]]
    assert told == [(1, 0), (1, 1), (2, 1), (1, 0)]


def test_without_truth_nothing_is_claimed() -> None:
    """Where no truth is known the summary has rejects, and neither escapes nor false rejects."""
    tally = Tally(truth_known=False)
    tally.add(result(Verdict.REJECT), None)
    told = summary(tally, 0)
    assert told["rejects"] == 1
    assert told["escapes"] is told["false_rejects"] is told["false_reject_rate"] is None


@pytest.mark.parametrize(
    ("contrast", "band"), [(0.05, "0.0-0.2"), (0.2, "0.2-0.4"), (0.99, "0.8-1.0"), (1.0, "0.8-1.0")]
)
def test_a_contrast_falls_into_one_band(contrast: float, band: str) -> None:
    """Bands begin with their lower edge, and the last one holds 1."""
    assert contrast_band(contrast) == band
