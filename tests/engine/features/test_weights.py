"""A backbone's weights are loaded only where they are the ones that the recipe names."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from msgspec import structs
from safetensors.torch import save_file
from torch import Tensor

from patchline.engine.errors import WeightsError
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.weights import (
    check_finite,
    draw,
    fit_names,
    random_backbone,
    sha256_of,
)
from patchline.engine.fitting.fit import fit
from patchline.engine.recipe import Backbone, Recipe
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


def resnet18_with(name: str, change: Callable[[Tensor], Tensor], path: Path) -> Backbone:
    """A file of random weights in which one tensor is changed, and the backbone that names it."""
    whole = torchvision.models.resnet18().state_dict()
    state = {key: draw(key, tensor, 0) for key, tensor in whole.items()}
    state[name] = change(state[name])
    torch.save(state, path)
    return structs.replace(random_backbone("resnet18"), weights=f"file:{path}", weights_sha256=sha256_of(path))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    """At the fit and wherever a bank is opened: an activation would make 0 of NaN, and a bank of nothing."""

    def one(tensor: Tensor) -> Tensor:
        changed = tensor.clone()
        changed.view(-1)[3] = value
        return changed

    path = tmp_path / "w.pth"
    spec = resnet18_with("layer2.0.conv1.weight", one, path)
    says = rf"{path}: layer2.0.conv1.weight has 1 of 73,728 values that are not finite \(NaN or infinite\)"
    with pytest.raises(WeightsError, match=says):
        load_backbone(structs.replace(spec, stages=("layer2",)), CPU)
    recipe = Recipe(name="part", backbone=structs.replace(spec, stages=("layer2",)), image_size_px=(64, 64))
    with pytest.raises(WeightsError, match=says):
        fit([(f"good-{n}", texture(n)) for n in range(4)], recipe, device="cpu")
    assert load_backbone(structs.replace(spec, stages=("layer1",)), CPU).weight_bytes  # it is not among these


def test_a_variance_below_zero_is_refused(tmp_path: Path) -> None:
    """Its root is no number."""
    spec = resnet18_with("layer1.0.bn1.running_var", lambda tensor: -tensor, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"layer1.0.bn1.running_var has a variance of -1, expected 0 or more"):
        load_backbone(spec, CPU)
    check_finite({"count": torch.tensor(3), "running_var": torch.zeros(0), "a": torch.zeros(2)}, "file")


def test_weights_in_another_precision_are_brought_to_the_backbone_s(tmp_path: Path) -> None:
    """Half precision is read as float32; one that overflows there, or is no number of that kind, is refused."""
    spec = resnet18_with("layer1.0.conv1.weight", lambda tensor: tensor.half(), tmp_path / "half.pth")
    assert bool(load_backbone(spec, CPU).embed([texture(5)])[0].isfinite().all())
    spec = resnet18_with("layer1.0.conv1.weight", lambda tensor: tensor.double() * 1e300, tmp_path / "double.pth")
    with pytest.raises(WeightsError, match=r"layer1.0.conv1.weight has 36,864 of 36,864 values that are not finite"):
        load_backbone(spec, CPU)
    for change in (Tensor.int, Tensor.to_sparse):
        spec = resnet18_with("layer1.0.conv1.weight", change, tmp_path / "odd.pth")
        with pytest.raises(
            WeightsError, match=r"layer1.0.conv1.weight is torch\.\w+, the backbone expects torch.float32"
        ):
            load_backbone(spec, CPU)


def test_a_file_far_larger_than_the_backbone_is_not_read(tmp_path: Path) -> None:
    """Neither a sparse file of terabytes, nor an archive that unpacks to gigabytes, nor one of nothing."""
    spec = structs.replace(random_backbone("resnet18"), weights_sha256="0" * 64)
    sparse, bomb, empty = tmp_path / "sparse.pth", tmp_path / "bomb.pth", tmp_path / "empty.pth"
    with sparse.open("wb") as file:
        file.truncate(2**43)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("data", "w") as member:
        for _ in range(512):
            member.write(bytes(2**20))
    empty.touch()
    for path in (sparse, bomb, empty):
        with pytest.raises(WeightsError, match=rf"{path}: [\d,]+ bytes, expected 1 to [\d,]+, as the backbone has"):
            load_backbone(structs.replace(spec, weights=f"file:{path}"), CPU)


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
