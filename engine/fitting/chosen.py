"""Some images of a fit, chosen by their names."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from patchline.engine.errors import EngineError
from patchline.engine.fitting.reading import NamedImage
from patchline.engine.fitting.scratch import ImageSpool

ALL = "all"
"""In place of names: whatever looks contaminated."""
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Chosen:
    """The images of a spool at some positions, ascending, as often as they are needed."""

    images: "ImageSpool | Chosen"
    positions: Sequence[int]

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[NamedImage]:
        wanted = set(self.positions)
        yield from (image for position, image in enumerate(self.images) if position in wanted)


def stay(names: Sequence[str], exclude: Collection[str], trusted: Collection[str]) -> list[int]:
    """Positions of the images that are not excluded by name.

    Args:
        names: of all images.
        exclude: names of images to leave out; `all` names none here.
        trusted: names of images that are good, whatever they look like; or `all`.

    Raises:
        EngineError: a name is in both, or is that of no image.
    """
    if both := sorted(set(exclude) & set(trusted)):
        raise EngineError(f"{both[0]!r}: found among what to exclude and among what to keep, expected one of the two")
    if unknown := sorted((set(exclude) | set(trusted)) - set(names) - {ALL}):
        some = ", ".join(names[:EXAMPLES])
        raise EngineError(f"{unknown[0]!r}: no image of the fit has this name; expected names such as {some}, or {ALL}")
    return [position for position, name in enumerate(names) if name not in exclude]
