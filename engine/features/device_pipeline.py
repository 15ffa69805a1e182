"""Batches of images through a network on a device, a chunk at a time: copy, upload and compute overlap.

While the device computes one chunk, the host copies the next into page-locked memory, and a stream of its own uploads
it. Each chunk is one launch of a CUDA graph (`features.cuda_graph`), recorded once for each size of chunk. Few sizes
occur: a chunk that is not full is filled up to a power of two, and what fills it is left out of the result. The host
never waits for a result here.

On the CPU the same steps run one after the other.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor

from patchline.engine.features.cuda_graph import Launch, record
from patchline.engine.types import Image

Forward: TypeAlias = Callable[[Tensor], Tensor]
"""Takes RGB uint8 (n, H, W, 3) on the device to (n, ...) on the device. Any n may occur."""

CHUNK_PIXELS = 32 * 224 * 224
"""Pixels of a full chunk: enough to keep a large GPU busy, and so few that the first copy is short."""
SLOTS = 2
"""Chunks on their way to the device: one uploads while the next is copied."""
COPIERS = 4
"""Threads that copy images: one alone copies more slowly than a large GPU computes."""


@lru_cache(maxsize=1)
def _copiers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(COPIERS, thread_name_prefix="patchline-copy")


def chunk_size(size_px: tuple[int, ...]) -> int:
    """Images of `size_px`, (H, W), in a full chunk: a power of two."""
    fitting = max(1, CHUNK_PIXELS // (size_px[0] * size_px[1]))
    return 1 << (fitting.bit_length() - 1)


def chunk_sizes(size_px: tuple[int, ...]) -> list[int]:
    """All sizes of chunk that occur for images of `size_px`, rising."""
    return [1 << power for power in range(chunk_size(size_px).bit_length())]


class DevicePass:
    """Computes `forward` for any number of images; one thread at a time may use it."""

    def __init__(self, forward: Forward, device: torch.device) -> None:
        self._forward = forward
        self._device = device
        on_gpu = device.type == "cuda"
        self._uploads = torch.cuda.Stream(device) if on_gpu else None  # type: ignore[no-untyped-call]  # torch has no types for it
        self._chunks: dict[tuple[int, ...], _Chunk] = {}

    @torch.inference_mode()
    def __call__(self, images: Sequence[Image]) -> Tensor:
        """A new tensor with the outputs of `forward` for images of one size, RGB uint8 (H, W, 3) each, in order."""
        result, start = torch.empty(0), 0
        for part, chunk in self._chunked(images):
            output = chunk.run(part)
            if start == 0:
                result = output.new_empty((len(images), *output.shape[1:]))
            result[start : start + len(part)] = output[: len(part)]  # a graph's output is the next chunk's too
            start += len(part)
        return result

    def launches(self, images: Sequence[Image]) -> list[Launch]:
        """The forward passes of a call with these images, without the images' way to the device, to be timed alone."""
        return [chunk.launch for _, chunk in self._chunked(images)]

    def _chunked(self, images: Sequence[Image]) -> Iterator[tuple[Sequence[Image], "_Chunk"]]:
        full = chunk_size(images[0].shape)
        for start in range(0, len(images), full):
            part = images[start : start + full]
            yield part, self._chunk((1 << (len(part) - 1).bit_length(), *part[0].shape))

    def _chunk(self, shape: tuple[int, ...]) -> "_Chunk":
        if shape not in self._chunks:
            self._chunks[shape] = _Chunk(self._forward, shape, self._device, self._uploads)
        return self._chunks[shape]


class _Chunk:
    """Chunks of one shape, uint8 (n, H, W, 3), one after the other."""

    def __init__(
        self, forward: Forward, shape: tuple[int, ...], device: torch.device, uploads: torch.cuda.Stream | None
    ) -> None:
        self._slots = [_Slot(shape, device, uploads) for _ in range(SLOTS)]
        self._next_slot = 0
        self._input = torch.zeros(shape, dtype=torch.uint8, device=device)
        on_gpu = device.type == "cuda"
        self.launch: Launch = record(forward, self._input) if on_gpu else lambda: forward(self._input)

    def run(self, images: Sequence[Image]) -> Tensor:
        """The forward pass of as many images as the chunk holds, or fewer; valid until the next one."""
        slot = self._slots[self._next_slot]
        self._next_slot = (self._next_slot + 1) % SLOTS
        slot.upload(images)
        slot.hand_over(self._input)
        return self.launch()


class _Slot:
    """The buffers of one chunk on its way: page-locked memory on the host, then memory on the device."""

    def __init__(self, shape: tuple[int, ...], device: torch.device, uploads: torch.cuda.Stream | None) -> None:
        self._uploads = uploads
        self._host = torch.zeros(shape, dtype=torch.uint8, pin_memory=uploads is not None)
        if uploads is not None:
            self._on_device = torch.empty(shape, dtype=torch.uint8, device=device)
            self._uploaded = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types for it
            self._taken = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch has no types for it
            # The stream that made the memory must have finished with it before another writes to it.
            uploads.wait_stream(torch.cuda.current_stream(device))

    def upload(self, images: Sequence[Image]) -> None:
        """Begin to send images to the device. This waits only for the upload of the chunk that had this slot before."""
        if self._uploads is not None:
            self._uploaded.synchronize()
        pixels = self._host.numpy()
        if self._uploads is None:
            for index, image in enumerate(images):
                pixels[index] = image
        else:
            list(_copiers().map(pixels.__setitem__, range(len(images)), images))
        if self._uploads is not None:
            with torch.cuda.stream(self._uploads):
                self._uploads.wait_event(self._taken)
                self._on_device.copy_(self._host, non_blocking=True)
                self._uploaded.record()

    def hand_over(self, target: Tensor) -> None:
        """Copy the images to `target`: after their upload, and before whatever the device is told to do next."""
        if self._uploads is None:
            target.copy_(self._host)
            return
        stream = torch.cuda.current_stream(target.device)
        stream.wait_event(self._uploaded)
        target.copy_(self._on_device)
        self._taken.record(stream)
