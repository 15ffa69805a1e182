"""References on disk: one JSON file a camera, written whole or not at all, so that a restart teaches nothing anew."""

from pathlib import Path
from urllib.parse import quote

import msgspec

from patchline.engine.bank.atomic_files import temporary_for
from patchline.stream.cameras.health.references import Learned

MOST_BYTES = 16 * 1024**2
_SUFFIX = ".health.json"


class ReferenceFiles:
    """The references of cameras in a folder. Whoever removes a file lets its camera learn anew.

    Args:
        folder: made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, camera: str) -> Path:
        """Where a camera's file lies."""
        return self._folder / f"{quote(camera, safe='')}{_SUFFIX}"

    def load(self, camera: str) -> Learned | None:
        """What was learned of a camera; None where nothing was.

        Raises:
            ValueError: the file is damaged, or not ours.
            OSError: it cannot be read.
        """
        path = self.path(camera)
        try:
            with path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        if len(content) > MOST_BYTES:
            raise ValueError(f"{path} has more than {MOST_BYTES:,} bytes")
        try:
            learned = msgspec.json.decode(content, type=Learned)
            learned.check()
        except (msgspec.DecodeError, ValueError, UnicodeError, RecursionError) as error:
            raise ValueError(f"{path} holds no references of a camera: {error}") from error
        return learned

    def save(self, learned: Learned) -> None:
        """Replace what was learned of a camera. Raises OSError."""
        path = self.path(learned.camera)
        self._folder.mkdir(parents=True, exist_ok=True)
        with temporary_for(path, msgspec.json.encode(learned), durable=True) as temporary:
            temporary.replace(path)

    def reset(self, camera: str) -> bool:
        """Forget what was learned of a camera; False where nothing was. Raises OSError."""
        try:
            self.path(camera).unlink()
        except FileNotFoundError:
            return False
        return True
