"""Which cameras go first when the engine is short: those whose alarm condition is present.

The rule of the alarms is applied to the results of this process, so nobody has to be asked. Acknowledging an alarm
changes nothing here, because the condition is still there.
"""

from collections import OrderedDict

from patchline.stream.model.alarm import Alarm, AlarmConfig, AlarmRules, AlarmState, Observation, observe, rules_of
from patchline.stream.model.result import Result
from patchline.stream.ports import Listener

_MAX_CAMERAS = 10_000
"""Frames bring any number of cameras, so those that were not seen for longest are forgotten."""


class AlarmConditions(Listener):
    """Follows the results of this process, and knows the cameras with k rejects among the last n, until m passes."""

    def __init__(self, alarms: AlarmRules | AlarmConfig) -> None:
        self._rules = rules_of(alarms)
        self._alarms: OrderedDict[str, Alarm] = OrderedDict()

    def present(self, camera: str) -> bool:
        """Whether the camera's alarm condition is present."""
        alarm = self._alarms.get(camera)
        return alarm is not None and alarm.state is AlarmState.UNACKNOWLEDGED

    def result(self, result: Result) -> None:
        """See `Listener`."""
        camera = result.camera
        before = self._alarms.get(camera) or Alarm(camera=camera)
        seen = Observation(camera=camera, frame_id=result.frame_id, verdict=result.verdict, time=result.time)
        self._alarms[camera], _ = observe(before, seen, self._rules.of(camera, result.recipe))
        self._alarms.move_to_end(camera)
        if len(self._alarms) > _MAX_CAMERAS:
            self._alarms.popitem(last=False)
