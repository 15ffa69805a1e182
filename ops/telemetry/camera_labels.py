"""Which cameras metrics tell apart: their names come from frames, and a series for each would grow without end."""

OTHER = "other"
"""The label of all that is not told apart."""


class CameraLabels:
    """Labels of at most `most` cameras, first come first served."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._cameras: set[str] = set()

    def expect(self, camera: str) -> None:
        """Tell this camera apart whatever comes before its first frame."""
        self._cameras.add(camera)

    def of(self, camera: str) -> str:
        """The label of a camera: its name, or `OTHER`."""
        if camera not in self._cameras:
            if len(self._cameras) >= self._most:
                return OTHER
            self._cameras.add(camera)
        return camera
