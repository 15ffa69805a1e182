"""Manifests: what is written is read back, and what was changed, or is of another kind, is refused."""

import json

import msgspec
import pytest

from patchline.engine.bank.events import Fitted, StoredFrame
from patchline.engine.bank.manifest import (
    MANIFEST_NAME,
    LearningState,
    Manifest,
    decode_manifest,
    encode_manifest,
    manifest_name,
)
from patchline.engine.bank.state import first_state
from patchline.engine.errors import BankFileError
from tests.engine.learning_worlds import first_manifest, fitted


def manifest(**changed: object) -> Manifest:
    """Generation 3, whose event is a fit again: what it says together is not looked at here."""
    return first_manifest(**({"generation": 3, "event": Fitted(operator="kim")} | changed))


def test_what_is_written_is_read_back() -> None:
    """With its checksum, which covers everything else; options at their defaults are not named."""
    written, content = encode_manifest(manifest())
    assert written.checksum
    assert written == msgspec.structs.replace(manifest(), checksum=written.checksum)
    assert decode_manifest(content, "path", 3) == written
    assert "tiling" not in json.loads(content)["recipe"]
    assert content.endswith(b"}\n")
    assert encode_manifest(manifest(threshold=2.5))[0].checksum != written.checksum
    assert encode_manifest(written) == (written, content)


def test_another_number_is_refused() -> None:
    """A manifest under another generation's name is named with both numbers."""
    with pytest.raises(BankFileError, match="path: describes generation 3, its name says 4"):
        decode_manifest(encode_manifest(manifest())[1], "path", 4)


def test_a_change_is_noticed_from_version_2_on() -> None:
    """Version 1 carried no checksum, so its content is taken as it is; version 2 with another content is refused."""
    content = json.loads(encode_manifest(manifest())[1])
    changed = json.dumps(content | {"operator": 1} | {"threshold": 9.0} | {"event": {"event": "fitted"}})
    changed = json.dumps({key: value for key, value in json.loads(changed).items() if key != "operator"})
    with pytest.raises(BankFileError, match=r"path: altered: its content has SHA-256 .*, it states"):
        decode_manifest(changed.encode(), "path", 3)
    first = json.dumps(json.loads(changed) | {"version": 1}).encode()
    assert decode_manifest(first, "path", 3).threshold == 9.0


@pytest.mark.parametrize(
    ("version", "says"), [(4, "version 4, this release reads 1 to 3"), (None, "version None"), (0, "version 0")]
)
def test_another_version_is_refused(version: object, says: str) -> None:
    """The message names the version found and those that can be read."""
    content = json.dumps(json.loads(encode_manifest(manifest())[1]) | {"version": version}).encode()
    with pytest.raises(BankFileError, match=says):
        decode_manifest(content, "path", 3)


@pytest.mark.parametrize("name", ["a/b", "../x", ".hidden"])
def test_files_outside_are_refused(name: str) -> None:
    """Tensors and log must lie beside the manifest."""
    log = StoredFrame(name=name, sha256="", bytes=1)
    for bad in (manifest(tensors=name), manifest(log=log)):
        with pytest.raises(BankFileError, match="path: altered: it must name files beside it, found"):
            decode_manifest(encode_manifest(bad)[1], "path", 3)
    kept = manifest(log=StoredFrame(name="log-1.json", sha256="", bytes=1))
    assert decode_manifest(encode_manifest(kept)[1], "path", 3).log == kept.log


def test_names_count_in_six_digits_or_more() -> None:
    """So that they sort, and later ones still have a name."""
    assert (manifest_name(7), manifest_name(1234567)) == ("generation-000007.json", "generation-1234567.json")
    for number in (7, 1234567):
        match = MANIFEST_NAME.fullmatch(manifest_name(number))
        assert match is not None
        assert int(match[1]) == number
    assert MANIFEST_NAME.fullmatch("generation-00007.json") is None


def test_the_state_of_learning_is_that_of_the_rows() -> None:
    """Each radius and the budget under its own name."""
    state = first_state(fitted()[0])
    stored = LearningState.of(state)
    assert (stored.sq_admission, stored.sq_first) == (state.sq_admission, state.sq_first)
    assert (stored.sq_fit, stored.budget) == (state.sq_fit, 400)
    assert stored.sq_fit > stored.sq_first
