"""Places are dealt out so that each lane has its share, whatever it asks for."""

from collections import Counter

import pytest

from patchline.stream.inspection.fair_order import FairOrder


def dealt(order: FairOrder[str], rounds: int, waits: dict[str, int]) -> Counter[str]:
    """Places given in so many rounds of one place; lane `name` asks for one every `waits[name]` rounds."""
    given, queued, arrived = Counter[str](), Counter[str](), dict[str, list[int]]()
    for number in range(rounds):
        for lane, every in waits.items():
            if number % every == 0:
                queued[lane] += 1
                arrived.setdefault(lane, []).append(number)
        waiting = {lane: float(arrived[lane][given[lane]]) for lane in waits if queued[lane] > given[lane]}
        if waiting:
            given[order.pick(waiting)] += 1
    return given


def test_lanes_that_always_wait_have_equal_shares() -> None:
    """However long each has waited."""
    assert dealt(FairOrder(), 300, {"a": 1, "b": 1, "c": 1}) == {"a": 100, "b": 100, "c": 100}


def test_a_lane_that_asks_for_less_than_its_share_gets_all_of_it() -> None:
    """And the others share the rest evenly: max-min fairness."""
    given = dealt(FairOrder(), 400, {"slow": 10, "fast": 1, "faster": 1})
    assert given["slow"] == 40
    assert abs(given["fast"] - given["faster"]) <= 1
    assert given.total() == 400


def test_a_lane_of_weight_four_gets_four_places_for_one() -> None:
    """As urgent ones do."""
    given = dealt(FairOrder(lambda lane: 4.0 if lane == "urgent" else 1.0), 500, {"a": 1, "urgent": 1})
    assert given == {"urgent": 400, "a": 100}


def test_a_lane_that_was_away_has_no_claim_to_the_past() -> None:
    """It gets its share from when it comes, and no more."""
    order = FairOrder[str]()
    for number in range(50):
        assert order.pick({"a": float(number)}) == "a"
    picked = [order.pick({"a": 0.0, "b": 1.0}) for _ in range(10)]
    assert Counter(picked) == {"a": 5, "b": 5}


def test_of_equal_lanes_the_one_that_waits_for_longest_is_first() -> None:
    """And where all that waits has a place, nobody owes anything any more."""
    order = FairOrder[str]()
    assert order.pick({"a": 2.0, "b": 1.0}) == "b"
    order.forget()
    assert order.pick({"a": 2.0, "b": 1.0}) == "b"
    assert order.pick({"a": 2.0, "b": 1.0}) == "a"


@pytest.mark.parametrize("lanes", [1000])
def test_lanes_that_came_and_went_are_not_remembered(lanes: int) -> None:
    """Names of cameras come from others."""
    order = FairOrder[str]()
    for number in range(lanes):
        order.pick({"always": 0.0, f"once-{number}": 1.0})
        order.pick({"always": 0.0, f"once-{number}": 1.0})
    assert len(order._finish) <= 70
