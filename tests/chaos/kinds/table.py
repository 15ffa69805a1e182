"""All kinds, in an order in which the families take turns."""

from collections import defaultdict
from itertools import chain, zip_longest

from tests.chaos.kinds import alarms, batches, frames, messages, references, requests
from tests.chaos.kinds.target import Kind


def all_kinds() -> list[Kind]:
    """Each once; whoever takes some from the beginning has some of every family."""
    families = defaultdict[str, list[Kind]](list)
    for module in (frames, batches, references, alarms, messages, requests):
        for kind in module.kinds():
            families[kind.family].append(kind)
    turns = zip_longest(*families.values())
    return [kind for kind in chain.from_iterable(turns) if kind is not None]
