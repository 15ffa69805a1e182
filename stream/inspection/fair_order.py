"""Which lane's item goes next where more wait than there are places: each lane gets its share, whatever it asks for.

Start-time fair queueing (Goyal, Vin and Cheng 1996), with one place as the unit of service. A lane that asks for less
than its share gets all it asks for; what is left is dealt out evenly among the others (max-min fairness).
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

LaneT = TypeVar("LaneT", bound=Hashable)


class FairOrder(Generic[LaneT]):
    """Deals out places one by one among the lanes that wait.

    Args:
        weight: how many places a lane gets for one of another that has weight 1.
    """

    def __init__(self, weight: Callable[[LaneT], float] = lambda _: 1.0) -> None:
        self._weight = weight
        self._now = 0.0
        self._finish: dict[LaneT, float] = {}
        """Until when, in virtual time, the places that a lane has had last."""

    def pick(self, waiting: Mapping[LaneT, float]) -> LaneT:
        """The lane that the next place is for; of equal ones the one that has waited for longest.

        Args:
            waiting: lanes that have something waiting, at least one, and since when.
        """
        starts = {lane: max(self._now, self._finish.get(lane, 0.0)) for lane in waiting}
        picked = min(starts, key=lambda lane: (starts[lane], waiting[lane]))
        self._now = starts[picked]
        self._finish[picked] = self._now + 1.0 / self._weight(picked)
        if len(self._finish) > 2 * len(starts) + 64:  # a lane that owes nothing is like one never seen
            self._finish = {lane: finish for lane, finish in self._finish.items() if finish > self._now}
        return picked

    def forget(self) -> None:
        """All that waits has a place: nobody owes anybody anything."""
        self._finish.clear()
