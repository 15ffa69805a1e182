import numpy as np
import torch

from patchline.engine.coreset.nearest_centres import UNKNOWN, NearestCentres


def nearest_centres(total: int) -> NearestCentres:
    return NearestCentres(total, torch.device("cpu"))


def test_the_nearest_is_known_unless_rounding_leaves_it_open() -> None:
    """Of one vector two centres are equally far, of the others one is nearer; what is farther later changes nothing."""
    nearest = nearest_centres(3)
    rows, error = torch.arange(3), 1e-6
    indices, centres = torch.tensor([0, 1, 1, 2]), torch.tensor([0, 0, 1, 1])
    nearest.offer(rows, indices, centres, torch.tensor([4.0, 5.0, 5.0, 6.0]), error)
    assert nearest.centre.tolist() == [0, UNKNOWN, 1]
    nearest.offer(rows, torch.tensor([0, 1, 2]), torch.tensor([2, 2, 2]), torch.tensor([4.5, 3.0, 3.0]), error)
    assert nearest.centre.tolist() == [0, UNKNOWN, 2]  # what was nearest of the second is not known
    np.testing.assert_allclose(nearest.upper, [4, 3, 3], rtol=1e-5)
    nearest.offer(rows[:1], torch.tensor([0]), torch.tensor([3]), torch.tensor([4.0]), error)
    assert nearest.centre[0] == UNKNOWN


def test_a_centre_that_is_met_again_leaves_its_vector_known() -> None:
    """What was a hint is found once more when the vector is compared with all."""
    nearest = nearest_centres(1)
    for _ in range(2):
        nearest.offer(torch.arange(1), torch.tensor([0]), torch.tensor([7]), torch.tensor([4.0]), 1e-6)
    assert nearest.centre.tolist() == [7]


def test_hints_are_centres_beside_that_were_not_compared_with() -> None:
    """Not the vector's own, not one that it has seen, and none twice; at the ends of the array nothing is asked for."""
    nearest = nearest_centres(5)
    nearest.centre[:] = torch.tensor([3, 1, 3, 2, UNKNOWN], dtype=torch.int32)
    nearest.seen[:] = torch.tensor([0, 2, 0, 0, 0], dtype=torch.int32)
    indices, centres = nearest.hints(torch.tensor([0, 1, 2, 4]), (1, -1))
    assert sorted(zip(indices.tolist(), centres.tolist(), strict=True)) == [(0, 1), (1, 3), (2, 1), (2, 2), (3, 2)]


def test_the_farthest_are_picked_and_no_other_lies_above_the_bar() -> None:
    """By rising rows, whatever part or stride tells the bar; centres are none of them."""
    nearest = nearest_centres(1000)
    nearest.upper[:] = torch.from_numpy(np.random.default_rng(0).permutation(1000).astype(np.float32))
    nearest.add(torch.arange(10), slice(0, 10))
    parts = [slice(0, 600), slice(600, 1000)]
    for step in (1, 7):
        rows, bar = nearest.highest(50, iter(parts), step)
        assert 20 <= len(rows) <= 100
        assert rows.tolist() == np.flatnonzero(nearest.upper.numpy() >= bar).tolist()
    rows, bar = nearest.highest(1000, iter(parts), 1)
    assert (rows.tolist(), bar) == (list(range(10, 1000)), -1)


def test_upper_bounds_hold_whatever_the_errors() -> None:
    """Distances that may err by a hundredth bound from above by a hundredth more, and only ever fall."""
    nearest = nearest_centres(3)
    nearest.offer(torch.arange(2), torch.tensor([0, 1]), torch.tensor([0, 0]), torch.tensor([4.0, 9.0]), 0.01)
    np.testing.assert_allclose(nearest.upper, [4.04, 9.09, np.inf], rtol=1e-6)
    nearest.lower(torch.tensor([0, 1, 1, 2]), torch.tensor([8.0, 2.0, 1.0, 5.0]), 0.01)
    np.testing.assert_allclose(nearest.upper, [4.04, 1.01, 5.05], rtol=1e-6)
    assert nearest.centre.tolist() == [UNKNOWN] * 3


def test_two_distances_within_their_errors_leave_the_nearest_open() -> None:
    """Four errors apart are told apart, three are not: among those offered, and against what is known."""
    for sq, centre in ((4.0 * 1.05, 0), (4.0 * 1.03, UNKNOWN)):
        nearest = nearest_centres(1)
        nearest.offer(torch.arange(1), torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([4.0, sq]), 0.01)
        assert nearest.centre.tolist() == [centre]
    for sq, centre in ((4.0, 0), (3.99, UNKNOWN), (3.8, 1), (4.3, 0)):
        nearest = nearest_centres(1)
        nearest.know(torch.arange(1), torch.tensor([0]), torch.tensor([4.0], dtype=torch.float64))
        nearest.offer(
            torch.arange(1), torch.tensor([0]), torch.tensor([1 if sq != 4.0 else 0]), torch.tensor([sq]), 0.01
        )
        assert nearest.centre.tolist() == [centre]


def test_a_distance_with_its_slack_bounds_and_leaves_open_what_it_might_change() -> None:
    """Clearly farther centres leave what is known; those that may be nearer leave it open; no bound is negative."""
    nearest = nearest_centres(4)
    nearest.know(torch.arange(4), torch.tensor([5, 6, 7, 8]), torch.tensor([4.0, 4.0, 4.0, 4.0]).double())
    nearest.bound(slice(1, 4), torch.tensor([6.0, 5.0, -3.0]), torch.tensor([1.0, 1.5, 1.0]))
    assert nearest.centre.tolist() == [5, 6, UNKNOWN, UNKNOWN]
    np.testing.assert_allclose(nearest.upper, [4, 4, 4, 0], rtol=1e-6)
    nearest.bound(slice(0, 1), torch.tensor([2.0]), torch.tensor([0.5]))
    assert nearest.upper[0] == 2.5


def test_what_is_known_exactly_is_bounded_by_the_next_float() -> None:
    """A float32 of an exact distance may be rounded down: the bound is one step of float32 above it."""
    nearest = nearest_centres(2)
    nearest.know(torch.tensor([1]), torch.tensor([3]), torch.tensor([1.0], dtype=torch.float64))
    assert nearest.upper.tolist() == [float("inf"), float(np.nextafter(np.float32(1), np.float32(2)))]
    assert nearest.centre.tolist() == [UNKNOWN, 3]


def test_a_centre_is_nearest_to_itself_and_compared_with_all() -> None:
    """It is among none of the farthest, gives its own number as a hint, and never asks."""
    nearest = nearest_centres(4)
    nearest.add(torch.tensor([2, 0]), slice(5, 7))
    assert nearest.centre.tolist() == [6, UNKNOWN, 5, UNKNOWN]
    assert nearest.upper.tolist() == [-float("inf"), float("inf"), -float("inf"), float("inf")]
    indices, centres = nearest.hints(torch.arange(4), (1, -1))
    assert sorted(zip(indices.tolist(), centres.tolist(), strict=True)) == [(1, 5), (1, 6), (3, 5)]
    assert nearest.at_least(0.0, iter([slice(0, 2), slice(2, 4)])).tolist() == [1, 3]
