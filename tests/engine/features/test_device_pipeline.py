"""Batches in chunks through a device: what comes out is what each image gives, whatever the batch."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from patchline.engine.features import device_pipeline
from patchline.engine.features.device_pipeline import DevicePass, chunk_size, chunk_sizes
from patchline.engine.features.extractor import load_backbone
from patchline.engine.features.weights import random_backbone
from tests.engine.conftest import texture

no_gpu = not torch.cuda.is_available()


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(no_gpu, reason="no CUDA GPU is at hand"))]


def images(count: int, seed: int) -> NDArray[np.uint8]:
    """Random images, (count, 8, 8, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("device", DEVICES)
def test_every_image_comes_out_in_its_place(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of all sizes, in turn, through the same buffers: each result is its own image's, and stays so."""
    monkeypatch.setattr(device_pipeline, "CHUNK_PIXELS", 4 * 64)
    sizes: list[int] = []

    def forward(pixels: torch.Tensor) -> torch.Tensor:
        sizes.append(len(pixels))
        return pixels.float().sum((1, 2)) + 1

    through = DevicePass(forward, torch.device(device))
    made = [(batch, through(list(batch))) for batch in (images(n, n) for n in (1, 3, 4, 9, 2, 11, 16, 1))]
    for batch, result in made:
        np.testing.assert_array_equal(result.cpu().numpy(), batch.astype(np.float32).sum((1, 2)) + 1)
    assert set(sizes) <= {1, 2, 4}


def test_chunks_are_powers_of_two_of_bounded_size() -> None:
    """Small images go in large chunks, an image larger than a chunk alone; a chunk that is not full has few sizes."""
    assert chunk_size((224, 224)) == 32
    assert chunk_size((4096, 3000)) == 1
    assert chunk_sizes((224, 224)) == [1, 2, 4, 8, 16, 32]


def test_a_batch_gives_the_embeddings_of_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunk by chunk the network gives what it gives each image alone, and the same grid."""
    monkeypatch.setattr(device_pipeline, "CHUNK_PIXELS", 2 * 64 * 96)
    extractor = load_backbone(random_backbone("resnet18"), torch.device("cpu"), "torch")
    batch = [texture(seed, (64, 96)) for seed in range(5)]
    expected, grid = extractor.embed(batch)
    found, found_grid = extractor.embed_batch(batch)
    assert found_grid == grid
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
