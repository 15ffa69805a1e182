"""Images that belong together by their names: pictures of one part, of one roll, of one shift."""

import re
from collections.abc import Hashable, Sequence

from patchline.ops.errors import InputError


def groups_by_name(names: Sequence[str], pattern: str) -> tuple[list[Hashable], list[str]]:
    """What each image has in common with those that it belongs to.

    Args:
        names: of the images.
        pattern: a regular expression, searched for in each name. What its groups match is common, or all that it
            matches where it has none; a name in which nothing is found stands for itself.

    Returns:
        An equal value for each of those that belong together; and the names in which nothing was found.

    Raises:
        InputError: it is no regular expression, or is found in no name.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(
            rf"--group: {pattern!r}: {error}; expected a regular expression, such as '^(\d+)_' for 017_left.png"
        ) from None
    matches = [expression.search(name) for name in names]
    if not any(matches):
        raise InputError(
            f"--group: {pattern!r} is found in none of {len(names)} names, such as {names[0]!r}; expected a regular "
            "expression that finds what images of one part have in common"
        )
    # Positions are numbers and what was found is a tuple, so that no name is taken for another's part.
    common: list[Hashable] = [
        position if match is None else (match.groups() or (match.group(),)) for position, match in enumerate(matches)
    ]
    return common, [name for name, match in zip(names, matches, strict=True) if match is None]
