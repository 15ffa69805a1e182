"""The names of alarms in Redis, all with one prefix; `stream/alarms/README.md` says what each holds."""


class AlarmKeys:
    """Names of keys and of the channel.

    Args:
        prefix: begins every name.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.events = f"{prefix}alarms"
        """The stream of events."""
        self.cameras = f"{prefix}alarm-cameras"
        """The set of cameras that have a state."""
        self.positions = f"{prefix}alarm-positions"
        """The hash of positions up to which logs of results are taken into account."""
        self.channel = f"{prefix}alarms:live"
        """The channel that announces events as they happen."""
        self.acknowledgements = f"{prefix}alarms:ack"
        """The stream that takes acknowledgements."""

        self.health = f"{prefix}alarm-health"
        """The hash of cameras' health: JSON by camera."""
        self.health_events = f"{prefix}alarm-health-events"
        """The stream of health alarms that were raised, changed or cleared."""

    def state(self, camera: str) -> str:
        """The hash of a camera's state."""
        return f"{self._prefix}alarm:{camera}"
