"""Where weights lie: what a bank from elsewhere names is neither imported nor fetched by itself."""

import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError
from msgspec import structs

from patchline.engine.errors import WeightsError
from patchline.engine.features.weight_files import HUB_FILE, hub_name, locate
from patchline.engine.features.weights import pinned, random_backbone

TIMM = structs.replace(random_backbone("resnet18", library="timm"), weights="a1_in1k")
MARK = "raise SystemExit('imported')\n"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that say so when they are imported, one with a file of weights."""
    for name in ("weighty", "weighty/inner", "hollow"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(MARK)
    (tmp_path / "weighty" / "w.pth").write_bytes(b"x")
    (tmp_path / "module.py").write_text(MARK)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_package_is_looked_into_and_not_imported(packages: Path) -> None:
    """The file is found; a package inside another, for which that would be imported, is refused by name."""
    spec = random_backbone("resnet18")
    assert locate(structs.replace(spec, weights="package:weighty")) == packages / "weighty" / "w.pth"
    for name, says in (
        ("weighty.inner", "package:weighty.inner: expected the name of an installed package, without a dot"),
        ("../weighty", "without a dot"),
        ("", "without a dot"),
        ("hollow", "expected one weights file, found 0"),
        ("module", "no such package is installed"),
        ("none_such", "no such package is installed"),
        ("__main__", "no such package is installed"),
        ("sys", "no such package is installed"),
    ):
        with pytest.raises(WeightsError, match=says):
            locate(structs.replace(spec, weights=f"package:{name}"))
    assert not {"weighty", "weighty.inner", "hollow", "module"} & sys.modules.keys()


@pytest.mark.parametrize("weights", ["hf-hub:org/model", "https://x/w.pth", "git+ssh:x", ":", "File:w.pth"])
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_no_other_place_is_known(weights: str, library: Any) -> None:
    """What looks like a place is refused with those that are."""
    spec = structs.replace(random_backbone("resnet18", library=library), weights=weights)
    with pytest.raises(WeightsError, match="is no place to take weights from; expected file:PATH, package:NAME"):
        locate(spec)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_name_that_the_library_does_not_have(library: Any) -> None:
    """Neither of a backbone that it has, nor of one that it has not."""
    for name in ("resnet18", "resnet17"):
        spec = structs.replace(random_backbone(name, library=library), weights="no_such")
        with pytest.raises(WeightsError, match=f"{library} has none of that name for"):
            locate(spec)


def test_the_home_of_nobody_is_said() -> None:
    """A path may begin with a home folder; that of a user who is not there cannot be found."""
    with pytest.raises(WeightsError, match=r"weights 'file:~no-such-user/w.pth': "):
        locate(structs.replace(TIMM, weights="file:~no-such-user/w.pth"))


def test_weights_of_timm_are_fetched_where_they_are_allowed_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What is on this machine is taken; what is not is asked for only where the process allows it, or who fits it."""
    asked: list[tuple[str, str, bool]] = []

    def download(repository: str, file: str, *, local_files_only: bool) -> str:
        asked.append((repository, file, local_files_only))
        if local_files_only and not (tmp_path / "here").exists():
            raise LocalEntryNotFoundError("not in the cache")
        return str(tmp_path / "here")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(
        WeightsError, match=r"not on this machine.*hf download timm/resnet18.a1_in1k model.safetensors"
    ) as no:
        locate(TIMM)
    assert "engine.hub_weights: [resnet18.a1_in1k]" in str(no.value)
    with pytest.raises(WeightsError, match="not on this machine"):
        locate(TIMM, fetch=("resnet34.a1_in1k",))
    assert locate(TIMM, fetch=(hub_name(TIMM),)) == tmp_path / "here"
    assert asked[0] == ("timm/resnet18.a1_in1k", HUB_FILE, True)
    assert [local for *_, local in asked] == [True, True, False]
    (tmp_path / "here").write_bytes(b"x")
    assert locate(TIMM) == tmp_path / "here"
    assert pinned(TIMM).weights_sha256 == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    assert asked[-1][-1] is False
