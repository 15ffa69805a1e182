"""The pictures of an evaluation name kinds of defect as they are."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from patchline.ops.offline.charts import save_score_histogram


@pytest.mark.parametrize("kind", ["_rim", "$\\frac$", "a $ b $ c", "scratch [deep]"])
def test_a_kind_is_in_the_legend_whatever_it_is_called(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An underscore hides nothing, and `$` begins no formula, neither there nor in the title."""
    drawn: list[Figure] = []
    save = Figure.savefig

    def save_and_keep(figure: Figure, path: Path, **how: Any) -> None:
        drawn.append(figure)
        save(figure, path, **how)

    monkeypatch.setattr(Figure, "savefig", save_and_keep)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = np.array([1.0, 2.0, 4.0, 5.0])
        save_score_histogram(tmp_path / "s.png", scores, ["good", "good", kind, kind], 3.0, title=f"$\\q$ {kind}")
    legend = drawn[0].axes[1].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [f"{kind} (2)"]
    assert (tmp_path / "s.png").stat().st_size > 10_000
