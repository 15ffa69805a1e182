"""Whether a worker takes frames, and why not: the text of `/readyz`."""

from collections.abc import Sequence

from patchline.stream.model.observer import Observer


class Readiness(Observer):
    """Why the worker is not ready, and what it waits for where it is, in words.

    Storage that is away holds up the partitions whose frames lie there. A worker that goes on with others is ready, and
    says what it waits for; one all of whose partitions wait inspects nothing, and is not.
    """

    def __init__(self) -> None:
        self._phase: str | None = "starting"
        self._no_kafka: str | None = None
        self._storage_away: set[str] = set()
        self._partitions: dict[str, int] = {}
        self._held = 0

    def say(self, phase: str) -> None:
        """Name what is done before the first frame, or after the last."""
        self._phase = phase

    def ready(self, ready: bool) -> None:
        """See `Observer`."""
        if ready:
            self._phase = None
        elif self._phase is None:
            self._phase = "stopping"

    def frame_storage(self, storage: str, up: bool) -> None:
        """See `Observer`."""
        (self._storage_away.discard if up else self._storage_away.add)(storage)

    def partitions(self, topic: str, partitions: Sequence[int]) -> None:
        """See `Observer`."""
        self._partitions[topic] = len(partitions)

    def lanes_held(self, lanes: int) -> None:
        """See `Observer`."""
        self._held = lanes

    def kafka(self, up: bool, why: str | None) -> None:  # noqa: ARG002 - the metrics tell of it
        """See `Observer`."""
        self._no_kafka = why

    def why_not_ready(self) -> str | None:
        """Every reason, the nearest to the start of the path first; None where frames are taken."""
        all_wait = self._waiting() >= sum(self._partitions.values())
        reasons = [self._phase, self._no_kafka, self.waiting_for() if all_wait else None]
        return "; ".join(reason for reason in reasons if reason) or None

    def waiting_for(self) -> str | None:
        """What some of the partitions wait for; None where there is nothing."""
        if not self._storage_away:
            return None
        where, count = ", ".join(sorted(self._storage_away)), sum(self._partitions.values())
        return f"waiting for the storage of frames at {where}: {self._waiting()} of {count} partitions"

    def _waiting(self) -> int:
        """Partitions that wait: one, where the first frame does and nothing is held up behind it yet."""
        return max(self._held, 1 if self._storage_away else 0)
