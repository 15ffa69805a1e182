"""The threshold of a learning bank says what it rests on, and promises no more than it can."""

import numpy as np
import pytest

from patchline.engine.bank.calibration import calibrate, learned_threshold
from patchline.engine.errors import CalibrationError

NONE = np.zeros(0)


def test_without_a_stream_it_is_the_calibrated_one() -> None:
    """Value and promise are those of the fit."""
    scores = np.arange(24.0)
    found = learned_threshold(scores, NONE, NONE, 0.1)
    assert found.value == calibrate(scores, 0.1).threshold
    assert found.promise == calibrate(scores, 0.1).promise


def test_with_a_stream_it_claims_no_promise() -> None:
    """Passed and confirmed frames move the threshold, and are counted in what it says."""
    found = learned_threshold(np.arange(20.0), np.array([30.0, 31.0]), np.array([40.0]), 0.1)
    assert found.value == 31.0
    assert "promises nothing" in found.promise
    assert "20 held-out good frames" in found.promise
    assert "2 that passed and 1 confirmed" in found.promise


def test_too_few_frames_are_refused() -> None:
    """As for the fit's own threshold, a rate that the frames cannot give is an error."""
    with pytest.raises(CalibrationError, match=r"0\.05 cannot be promised"):
        learned_threshold(np.arange(5.0), NONE, NONE, 0.05)
