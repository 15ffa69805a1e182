"""The simulated line: who sees which material, what is planted, and that a seed fixes it all."""

from itertools import islice, pairwise

import numpy as np
import pytest

from patchline.ops.demo.defects import CONTRAST_RANGE, Kind, plant
from patchline.ops.demo.lighting import AGED, AGES_FROM, AGES_UNTIL, GAIN_SPAN, GAMMA_SPAN, Drift, Light
from patchline.ops.demo.line import Station
from patchline.ops.demo.material import MATERIALS, PIECES, Material, Piece, Role, load_material
from patchline.ops.demo.web import STEP_PX, VIEW_PX, Web

PAINT = {Role.FIT: 40, Role.CALIBRATION: 120, Role.STREAM: 200}


@pytest.fixture(scope="module")
def painted() -> Material:
    """A material in which each role's pieces have a grey of their own."""
    photograph = np.zeros((512, 512), np.uint8)
    blank = Material("painted", photograph)
    for role, pieces in PIECES.items():
        for piece in pieces:
            photograph[blank.bounds(piece)] = PAINT[role]
    return blank


@pytest.mark.parametrize("role", list(Role))
def test_a_role_sees_no_pixel_of_another(role: Role, painted: Material) -> None:
    """300 frames of a role show the grey of its own lanes and nothing else, not even at their edges."""
    for view in islice(Web(painted, role, seed=1).views(), 300):
        assert view.image.min() == view.image.max() == PAINT[role]


def test_pieces_cover_the_photograph_once(painted: Material) -> None:
    """Every pixel of the photograph is in exactly one piece, and every piece has exactly one role."""
    times = np.zeros_like(painted.photograph)
    for pieces in PIECES.values():
        for piece in pieces:
            times[painted.bounds(piece)] += 1
    assert (times == 1).all()


@pytest.mark.parametrize("name", MATERIALS)
def test_the_source_of_a_view_is_inside_its_role(name: str) -> None:
    """Every frame says which part of the photograph it shows: inside one piece of its role, never around an end."""
    material = load_material(name)
    for role in Role:
        bounds = [material.bounds(piece) for piece in PIECES[role]]
        for view in islice(Web(material, role, seed=2).views(), 60):
            assert any(
                rows.start <= view.source_rows[0]
                and view.source_rows[1] <= rows.stop
                and columns.start <= view.source_columns[0]
                and view.source_columns[1] <= columns.stop
                for rows, columns in bounds
            )


def test_the_web_moves_by_half_a_frame() -> None:
    """Within a length the right half of a frame is the left half of the next, but for the lateral wander."""
    views = list(islice(Web(load_material("gravel"), Role.STREAM, seed=3).views(), 60))
    continued = 0
    for before, after in pairwise(views):
        right, left = before.image[40:-40, STEP_PX:, 0], after.image[:, : VIEW_PX[1] - STEP_PX, 0]
        shifts = range(left.shape[0] - right.shape[0] + 1)
        continued += any(np.array_equal(right, left[shift : shift + right.shape[0]]) for shift in shifts)
    assert continued >= 28  # the others are the ends of lengths


@pytest.mark.parametrize("kind", list(Kind))
def test_nothing_changes_outside_the_mask(kind: Kind) -> None:
    """A defect changes pixels inside its mask only, and at full contrast most of those that it covers."""
    clean = load_material("gravel").web(Piece(1, 0))
    for seed in range(8):
        web = clean.copy()
        defect = plant(web, kind, 1.0, (20, 300, 250, STEP_PX), np.random.default_rng(seed))
        changed = (web != clean).any(axis=2)
        mask = np.zeros_like(changed)
        height, width = defect.mask.shape
        mask[defect.top_px : defect.top_px + height, defect.left_px : defect.left_px + width] = defect.mask
        assert not changed[~mask].any()
        assert changed[mask].mean() > 0.8


def test_contrast_scales_the_change() -> None:
    """The same hole at a tenth of the contrast changes about a tenth as much."""
    clean = load_material("gravel").web(Piece(1, 0))

    def change(contrast: float) -> float:
        web = clean.copy()
        plant(web, Kind.HOLE, contrast, (20, 300, 250, STEP_PX), np.random.default_rng(0))
        return float(np.abs(web.astype(int) - clean.astype(int)).sum())

    assert change(0.1) == pytest.approx(0.1 * change(1.0), rel=0.1)


def test_a_defect_is_never_cut_and_its_mask_is_where_it_is() -> None:
    """Each defect is whole in every frame that shows it: frames differ from the clean web inside their mask only."""
    material = load_material("brick")
    seen = 0
    for view in islice(Web(material, Role.STREAM, seed=4, defect_share=0.6).views(), 120):
        if not view.truth.defective:
            continue
        assert view.truth.mask is not None
        assert view.truth.mask.sum() <= sum(int(defect.mask.sum()) for defect in view.truth.defects)
        assert view.truth.mask.sum() >= max(int(defect.mask.sum()) for defect in view.truth.defects)
        assert all(CONTRAST_RANGE[0] <= defect.contrast <= CONTRAST_RANGE[1] for defect in view.truth.defects)
        seen += 1
    assert seen > 40


def test_about_the_asked_share_of_frames_is_defective() -> None:
    """Of 600 frames at a share of 0.2, between 80 and 160 hold a defect, of every kind."""
    views = list(islice(Web(load_material("grass"), Role.STREAM, seed=5, defect_share=0.2).views(), 600))
    assert 80 < sum(view.truth.defective for view in views) < 160
    assert {defect.kind for view in views for defect in view.truth.defects} == set(Kind)


def test_a_seed_fixes_every_byte() -> None:
    """Two lines of one seed send the same JPEG bytes with the same truth; another seed sends others."""

    def stream(seed: int) -> list[bytes]:
        station = Station(load_material("brick"), seed=seed, defect_share=0.3, drift=0.0)
        return [station.take()[0] for _ in range(12)]

    assert stream(1) == stream(1)
    assert stream(1) != stream(2)


def test_the_lamp_ages_for_good_once_the_stream_runs() -> None:
    """Before the stream and without ageing the light is the banks'; afterwards it is warmer by all of its share."""
    drift = Drift(np.random.default_rng(6))
    assert all(drift.at(frame, 1.0) == drift.at(frame) for frame in range(-100, AGES_FROM))
    assert all(drift.at(frame, 1.0).warmth == AGED.warmth for frame in range(AGES_UNTIL, AGES_UNTIL + 50))
    assert drift.at(AGES_UNTIL).warmth == 0


def test_the_light_drifts_slowly_and_within_its_span() -> None:
    """From frame to frame the gain moves by less than a fifth of its span, and it never leaves it."""
    drift = Drift(np.random.default_rng(6))
    lights = [drift.at(frame) for frame in range(2000)]
    gains = np.array([light.gain for light in lights])
    assert np.abs(gains - 1).max() <= GAIN_SPAN
    assert np.abs(np.diff(gains)).max() < GAIN_SPAN / 5
    assert max(abs(light.gamma - 1) for light in lights) <= GAMMA_SPAN
    assert np.ptp(gains) > GAIN_SPAN / 2


def test_even_light_changes_nothing() -> None:
    """Under even light a frame is what the web is."""
    image = load_material("brick").web(Piece(0, 0))[:100, :100]
    assert np.allclose(Light().shine_on(image), image, atol=1e-3)
