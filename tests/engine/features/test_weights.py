"""A backbone's weights are loaded only where they are the ones that the recipe names."""

from pathlib import Path

import pytest
import torch
import torchvision
from msgspec import structs
from safetensors.torch import save_file

from patchline.engine.errors import WeightsError
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.weights import (
    draw,
    fit_names,
    random_backbone,
    sha256_of,
)
from tests.engine.conftest import texture

CPU = torch.device("cpu")


def test_weights_files(tmp_path: Path) -> None:
    """A local file is loaded in safetensors or PyTorch's format, gives the same features, and only with its SHA-256."""
    whole = torchvision.models.resnet18().eval()
    state = {name: draw(name, tensor, 0) for name, tensor in whole.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pth")
    spec = random_backbone("resnet18", seed=0)
    expected = load_backbone(spec, CPU).embed([texture(5)])[0]
    for path in (tmp_path / "w.safetensors", tmp_path / "w.pth"):
        named = structs.replace(spec, weights=f"file:{path}", weights_sha256=sha256_of(path))
        assert torch.equal(load_backbone(named, CPU).embed([texture(5)])[0], expected)
        with pytest.raises(WeightsError, match=rf"{path}: its SHA-256 is {named.weights_sha256}, the recipe expects 0"):
            load_backbone(structs.replace(named, weights_sha256="0" * 64), CPU)


def test_weights_that_are_none(tmp_path: Path) -> None:
    """Missing, unpickled, truncated and ill-fitting weights are refused by file and reason."""
    spec = random_backbone("resnet18")

    def load(path: Path) -> None:
        digest = sha256_of(path) if path.exists() else "0" * 64
        load_backbone(structs.replace(spec, weights=f"file:{path}", weights_sha256=digest), CPU)

    with pytest.raises(WeightsError, match=r"absent.pth: no such weights file"):
        load(tmp_path / "absent.pth")
    torch.save(Path("an object"), tmp_path / "object.pth")
    with pytest.raises(WeightsError, match=r"object.pth: holds no weights that can be read"):
        load(tmp_path / "object.pth")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10")
    with pytest.raises(WeightsError, match=r"cut.safetensors: holds no weights that can be read"):
        load(tmp_path / "cut.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other.safetensors: holds 1 tensors, the backbone has 122"):
        load(tmp_path / "other.safetensors")


def test_tensors_are_brought_to_the_names_of_the_backbone() -> None:
    """Equal names are kept, others are matched in order; a shape that differs is named."""
    one, other = torch.zeros(2, 3), torch.ones(4)
    expected = {"a": torch.empty(2, 3), "b": torch.empty(4)}
    assert fit_names({"b": other, "a": one}, expected, "file")["b"] is other
    assert list(fit_names({"x": one, "y": other}, expected, "file")) == ["a", "b"]
    with pytest.raises(WeightsError, match=r"file: a has shape \(4,\), the backbone expects \(2, 3\)"):
        fit_names({"x": other, "y": one}, expected, "file")
    with pytest.raises(WeightsError, match=r"file: holds 1 tensors, the backbone has 2 \(differing: b\)"):
        fit_names({"a": one}, expected, "file")


def test_random_weights_are_those_of_their_name_and_seed() -> None:
    """Convolutions are drawn anew for each name and seed; normalisation starts as the identity, counters at 0."""
    like = torch.empty(50, 8, 3, 3)
    assert torch.equal(draw("a", like, 1), draw("a", like, 1))
    assert not torch.equal(draw("a", like, 1), draw("b", like, 1))
    assert not torch.equal(draw("a", like, 1), draw("a", like, 2))
    assert float(draw("a", like, 1).std()) == pytest.approx((2 / 72) ** 0.5, rel=0.05)
    for name in ("n.weight", "n.running_var"):
        assert draw(name, torch.empty(3), 1).tolist() == [1, 1, 1]
    assert draw("n.bias", torch.empty(3), 1).tolist() == [0, 0, 0]
    assert draw("n.count", torch.tensor(5), 1) == 0
