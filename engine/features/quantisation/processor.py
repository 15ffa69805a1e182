"""Whether this processor computes what a bank of less precision rests on."""

from functools import lru_cache

import torch

from patchline.engine.errors import DeviceError
from patchline.engine.numerics import onednn
from patchline.engine.recipe import Backbone

LARGEST_WEIGHT = 64
"""Two products of it with the largest activation, 255, still fit in 16 signed bits."""


def check(spec: Backbone, device: torch.device, runtime: str, precision: str) -> None:
    """Raise DeviceError where a backbone of less than float32 cannot give the scores that its bank rests on.

    Args:
        spec: the backbone; in float32 everything computes it.
        device: where it is to compute.
        runtime: what was asked to run it: `auto`, `torch` or `openvino`.
        precision: what was asked of the device: `auto` or `float32`.
    """
    if spec.precision == "float32":
        return
    name = f"backbone {spec.name!r} in {spec.precision}"
    if device.type != "cpu":
        raise DeviceError(f"{name}: computes on a CPU only, found {device}; expected device cpu, or a fit in float32")
    if runtime == "openvino":
        raise DeviceError(f"{name}: runtime openvino computes float32 only; expected auto or torch")
    if precision == "float32":
        raise DeviceError(
            f"{name}: the threshold rests on {spec.precision}, precision float32 would give other scores; expected auto"
        )
    missing = _lacks_int8() if spec.precision == "int8" else _lacks_bfloat16()
    if missing:
        raise DeviceError(f"{name}: {missing}; expected such a processor, or a fit in float32")


@lru_cache(maxsize=1)
def _lacks_int8() -> str:
    """What stands in the way of 8-bit convolutions here; empty where nothing does."""
    if not onednn.available() or not hasattr(torch.ops.onednn, "qconv2d_pointwise"):
        return "this build of PyTorch has no 8-bit convolutions of oneDNN"
    try:
        exact = sums_exactly(LARGEST_WEIGHT)
    except RuntimeError as error:
        return f"oneDNN has no 8-bit convolutions for this processor ({str(error).splitlines()[0]})"
    return "" if exact else "8-bit sums saturate on this processor: those of the largest values came out too small"


def _lacks_bfloat16() -> str:
    if not onednn.available() or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "this build of PyTorch has no bfloat16 convolutions of oneDNN for this processor"
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return (
            "this processor has no bfloat16 products (neither AVX-512 BF16 nor AMX was found) and would round otherwise"
        )
    return ""


def sums_exactly(largest: int) -> bool:
    """Whether 8-bit convolutions of the largest activations with weights of this size give the sums of integers.

    A processor that adds pairs of products in 16 bits cuts them off, the largest of one sign first.
    """
    activations = torch.full((1, 64, 8, 8), 255, dtype=torch.uint8).to(memory_format=torch.channels_last)
    for groups, side in ((1, 1), (1, 3), (64, 3)):
        signs = torch.ones(64, 64 // groups, side, side, dtype=torch.int8)
        signs[1::2] = -1
        weight, geometry = signs * largest, ([0, 0], [1, 1], groups)
        ones, zeros = torch.ones(64), torch.zeros(64, dtype=torch.int32)
        packed = torch.ops.onednn.qconv_prepack(weight, ones, 1.0, 0, [1, 1], *geometry, list(activations.shape))
        found = torch.ops.onednn.qconv2d_pointwise(
            activations, 1.0, 0, packed, ones, zeros, None, [1, 1], *geometry, 1.0, 0, torch.float32, "none", [], ""
        )
        expected = torch.nn.functional.conv2d(activations.double(), weight.double(), None, 1, 0, 1, groups)
        if not torch.equal(found.double(), expected):
            return False
    return True
