"""Who asks, as far as that is proved: by a token, by a signature, or by nothing.

What a person types as the operator's name is shown and stored; what counts is the identity, which nobody can type.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What an identity may do."""

    VIEWER = "viewer"
    """See frames, explanations, previews and answers."""
    OPERATOR = "operator"
    """Give feedback, and whatever a viewer may."""
    ENGINEER = "engineer"
    """Whatever an operator may, and read metrics."""
    METRICS = "metrics"
    """Read metrics and readiness."""
    WORKER = "worker"
    """Hand on feedback of others, and say whose it is: for the keys of workers."""


_INCLUDED: dict[Role, frozenset[Role]] = {
    Role.OPERATOR: frozenset({Role.VIEWER}),
    Role.ENGINEER: frozenset({Role.OPERATOR, Role.VIEWER, Role.METRICS}),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """A name that was proved, and what it may do."""

    name: str
    roles: frozenset[Role]

    def may(self, roles: Iterable[Role]) -> bool:
        """Whether one of these roles is its own, or included in one of its own."""
        own = self.roles.union(*(_INCLUDED.get(role, frozenset()) for role in self.roles))
        return not own.isdisjoint(roles)
