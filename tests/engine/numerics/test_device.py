"""Which device computes, how precisely, and whether kernels can be compiled for it."""

import pytest
import torch

from patchline.engine.errors import DeviceError
from patchline.engine.numerics.device import (
    Precision,
    backbone_dtype,
    can_compile_kernels,
    full_float32,
    resolve_device,
    start_fetch,
)


def test_devices_that_are_none() -> None:
    """An unknown device is refused by name."""
    with pytest.raises(DeviceError, match="'abacus': expected auto, cpu or cuda"):
        resolve_device("abacus")


def test_float32_is_kept_whole_for_what_relies_on_it() -> None:
    """On a GPU neither products nor convolutions go to TF32 meanwhile; afterwards all is as the process had it."""
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    try:
        products.allow_tf32 = convolutions.allow_tf32 = True
        with full_float32(torch.device("cuda")):
            assert (products.allow_tf32, convolutions.allow_tf32) == (False, False)
        assert (products.allow_tf32, convolutions.allow_tf32) == (True, True)
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


def test_half_precision_is_a_choice_on_a_gpu_alone() -> None:
    """A GPU computes in half precision unless float32 is asked for; a CPU in float32 always."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    choices: tuple[Precision, ...] = ("auto", "float32")
    found = [backbone_dtype(device, precision) for device in (cpu, gpu) for precision in choices]
    assert found == [torch.float32, torch.float32, torch.float16, torch.float32]


def test_what_kernels_need_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU without a C compiler inspects without kernels, and a warning says why; a CPU needs none."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    assert not can_compile_kernels(torch.device("cpu"))
    with pytest.warns(RuntimeWarning, match="inspection on cuda is slow: .*no C compiler is on the PATH, expected gcc"):
        assert not can_compile_kernels(torch.device("cuda"))


def test_a_device_is_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` is a GPU where there is one; a GPU that is not there, and a device of another kind, are refused."""
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (resolve_device("auto").type, resolve_device("cuda:1")) == ("cuda", torch.device("cuda:1"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(DeviceError, match="no CUDA GPU that torch can use"):
        resolve_device("cuda")
    with pytest.raises(DeviceError, match="'meta': expected auto, cpu or cuda"):
        resolve_device("meta")


def test_a_tensor_on_the_host_is_fetched_as_it_is() -> None:
    """Nothing is copied where nothing has to be."""
    tensor = torch.ones(3)
    assert start_fetch(tensor)() is tensor


def test_a_compiler_that_is_named_or_found_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """CC in the environment, or gcc or clang on the PATH; without Triton neither helps."""
    gpu = torch.device("cuda")
    monkeypatch.setattr("patchline.engine.numerics.device.find_spec", lambda _: object())
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: "/bin/clang" if name == "clang" else None)
    assert can_compile_kernels(gpu)
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setenv("CC", "cc")
    assert can_compile_kernels(gpu)
    monkeypatch.setattr("patchline.engine.numerics.device.find_spec", lambda _: None)
    with pytest.warns(RuntimeWarning, match="Triton is not installed"):
        assert not can_compile_kernels(gpu)
