"""What this processor can do in less than float32, and what one can that is played on it."""

import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import msgspec
import numpy as np
import pytest
import torch
from msgspec import structs

from patchline.engine.errors import DeviceError
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.quantisation.processor import LARGEST_WEIGHT, check, sums_exactly
from patchline.engine.features.weights import random_backbone
from patchline.engine.recipe import Backbone
from tests.engine.conftest import texture
from tests.engine.features.quantisation.observing import CPU, in_int8
from tests.services.process import REPOSITORY

INT8 = structs.replace(random_backbone(), precision="int8")
BFLOAT16 = structs.replace(random_backbone(), precision="bfloat16")
PLAYED = """
import sys
import msgspec, numpy, torch
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.quantisation.processor import sums_exactly
from patchline.engine.recipe import Backbone
from tests.engine.conftest import texture

spec = msgspec.json.decode(sys.argv[1], type=Backbone)
embeddings = load_backbone(spec, torch.device("cpu")).embed([texture(5)])[0]
numpy.save(sys.argv[2], embeddings.numpy())
print(sums_exactly(64), sums_exactly(127))
"""


def test_weights_of_seven_bits_sum_exactly() -> None:
    """Whatever this processor is: two of the largest products fit in 16 bits."""
    assert sums_exactly(LARGEST_WEIGHT)


@pytest.mark.skipif("x86" not in os.uname().machine and "amd64" not in os.uname().machine, reason="plays an x86")
def test_a_processor_without_vnni_gives_the_same_scores(tmp_path: Path) -> None:
    """Played: its sums of whole bytes saturate, which is seen; those of seven bits give the embeddings of this one."""
    spec = in_int8(random_backbone("resnet18", stages=("layer1", "layer2")))
    file = tmp_path / "embeddings.npy"
    played = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
    paths = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-c", PLAYED, msgspec.json.encode(spec).decode(), str(file)],
        env=os.environ | played | {"PYTHONPATH": paths},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["True", "False"]
    there, here = np.load(file), load_backbone(spec, CPU).embed([texture(5)])[0].numpy()
    # A value midway between two integers may be rounded either way, and such a step go on through the network.
    assert np.abs(there - here).max() < 0.02 * np.abs(here).max()
    assert np.linalg.norm(there - here) < 1e-3 * np.linalg.norm(here)


@pytest.mark.parametrize("spec", [INT8, BFLOAT16])
def test_what_cannot_give_the_scores_of_the_bank_says_so(spec: Backbone) -> None:
    """A GPU, OpenVINO, or float32 in place of what the threshold rests on: each is named, with what is expected."""
    name = f"backbone 'resnet18' in {spec.precision}"
    with pytest.raises(DeviceError, match=f"{name}: computes on a CPU only, found cuda:0; expected device cpu"):
        check(spec, torch.device("cuda:0"), "auto", "auto")
    with pytest.raises(DeviceError, match=f"{name}: runtime openvino computes float32 only; expected auto or torch"):
        load_backbone(spec, CPU, "openvino")
    with pytest.raises(DeviceError, match=f"{name}: the threshold rests on {spec.precision}, precision float32 would"):
        load_backbone(spec, CPU, precision="float32")


def test_float32_is_computed_anywhere() -> None:
    """A backbone that states nothing less asks nothing of a device."""
    check(random_backbone(), torch.device("cuda:0"), "openvino", "float32")


def test_a_processor_without_bfloat16_says_so() -> None:
    """Neither AVX-512 BF16 nor AMX: as this cannot be played, PyTorch is made to say so."""
    with (
        patch.object(torch.cpu, "_is_avx512_bf16_supported", return_value=False),
        patch.object(torch.cpu, "_is_amx_tile_supported", return_value=False),
        pytest.raises(
            DeviceError, match=r"in bfloat16: this .* bfloat16 .*; expected such a processor, or a fit in float32"
        ),
    ):
        load_backbone(BFLOAT16, CPU)
