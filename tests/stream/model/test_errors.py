import inspect
import re

import pytest

from patchline.engine.errors import PatchlineError
from patchline.stream.model import errors
from patchline.stream.model.errors import (
    MAX_DETAIL_CHARACTERS,
    EvidenceError,
    Reason,
    SinkUnavailableError,
    SourceUnavailableError,
    StoreUnavailableError,
    StreamError,
    UnreadableError,
    is_retriable,
)

ERRORS = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, StreamError)}
RETRIABLE = {SourceUnavailableError, SinkUnavailableError, EvidenceError, StoreUnavailableError}


def test_the_type_says_whether_another_attempt_may_help() -> None:
    """Only what is away now is tried again; errors of others never are."""
    for kind in ERRORS.values():
        error = kind(Reason.EMPTY, "nothing") if issubclass(kind, UnreadableError) else kind("it failed")
        assert is_retriable(error) == (kind in RETRIABLE), kind
    assert not is_retriable(OSError("away"))
    assert not is_retriable(PatchlineError("away"))


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    """The module's docstring has every error once, below the error that it is a kind of."""
    above: list[str] = []
    drawn: dict[str, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│ ├└─]*)(\w+Error)\b", line):
            depth = len(found[1]) // 4
            above[depth:] = [found[2]]
            drawn[found[2]] = above[depth - 1] if depth else ""
    assert drawn.pop("PatchlineError") == ""
    assert drawn == {name: kind.__base__.__name__ for name, kind in ERRORS.items() if kind.__base__ is not None}


def test_a_detail_is_cut_and_the_sentence_is_not() -> None:
    """A result repeats what a record says, and must fit into one."""
    error = UnreadableError(Reason.CORRUPT, "x" * 5000)
    assert (len(error.detail), len(str(error)), MAX_DETAIL_CHARACTERS) == (2000, 5000, 2000)
    assert error.reason is Reason.CORRUPT
    assert error.sha256 is None
    assert UnreadableError(Reason.EMPTY, "short").detail == "short"


@pytest.mark.parametrize("kind", [Reason, errors.DropCause, errors.AlarmGap, errors.Foreign])
def test_codes_are_the_words_of_their_names(kind: type[Reason]) -> None:
    """Results and metrics carry the codes: each is its name in lower case."""
    assert [each.value for each in kind] == [each.name.lower() for each in kind]
