"""What each role may do."""

import pytest

from patchline.stream.model.identity import Identity, Role


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.VIEWER, {Role.VIEWER}),
        (Role.OPERATOR, {Role.VIEWER, Role.OPERATOR}),
        (Role.ENGINEER, {Role.VIEWER, Role.OPERATOR, Role.ENGINEER, Role.METRICS}),
        (Role.METRICS, {Role.METRICS}),
        (Role.WORKER, {Role.WORKER}),
    ],
)
def test_a_role_includes_what_is_below_it(role: Role, may: set[Role]) -> None:
    """An engineer may what an operator may, who may what a viewer may; metrics and workers stand apart."""
    identity = Identity("x", frozenset({role}))
    assert {wanted for wanted in Role if identity.may((wanted,))} == may
    assert not identity.may(())


def test_one_of_the_roles_is_enough() -> None:
    """Of the identity's, and of those that are asked for."""
    identity = Identity("x", frozenset({Role.METRICS, Role.VIEWER}))
    assert identity.may((Role.OPERATOR, Role.VIEWER))
    assert not identity.may((Role.OPERATOR, Role.WORKER))
    assert not Identity("x", frozenset()).may(Role)
