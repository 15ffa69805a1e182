"""anomalib's own export to OpenVINO on the peer's side: what its Studio runs, in float32."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

STATE: dict[str, Any] = {}
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}


def export(
    model: torch.nn.Module, mean: torch.Tensor, std: torch.Tensor, size_px: tuple[int, int], batch: int, folder: str
) -> dict[str, Any]:
    """Write a PatchcoreModel with its normalisation as anomalib exports its models; returns the .xml file.

    Each size of batch is an export of its own: the model searches parts of 1,024 patches in a loop, whose length the
    exporter must know.
    """
    from anomalib.models.components.base.export_mixin import ExportMixin
    from lightning.pytorch import LightningModule

    class Exported(ExportMixin, LightningModule):  # type: ignore[misc] # anomalib and lightning are untyped here
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.register_buffer("mean", mean)
            self.register_buffer("std", std)

        def forward(self, pixels: torch.Tensor) -> Any:
            return self.model((pixels - self.mean) / self.std)

    fixed = {"dynamic_shapes": ({0: batch},)}
    with torch.no_grad():
        path = Exported().eval().to_openvino(folder, f"batch-{batch}", size_px, onnx_kwargs=fixed)
    return {"model": str(path)}


def compile_export(model: str, batch: int, streams: int, threads: int) -> dict[str, Any]:
    """Compile an export for batches of one size; returns the kinds of kernels that OpenVINO chose, most used first."""
    import openvino

    core = openvino.Core()
    options = FLOAT32 | {"NUM_STREAMS": str(streams), "INFERENCE_NUM_THREADS": str(threads)}
    compiled = core.compile_model(Path(model), "CPU", options)
    STATE.update(compiled=compiled, batch=batch, streams=streams)
    kinds: dict[str, int] = {}
    for operation in compiled.get_runtime_model().get_ops():
        information = operation.get_rt_info()
        if "primitiveType" in information:
            value = information["primitiveType"]
            kind = str(getattr(value, "value", value))
            kinds[kind] = kinds.get(kind, 0) + 1
    return {"kernels": sorted(kinds, key=lambda kind: -kinds[kind])}


def time_inspect(frames: NDArray[np.uint8]) -> dict[str, Any]:
    """Seconds to inspect frames, uint8 (N, H, W, 3), in batches, with as many requests under way as there are streams.

    Each batch is complete: a rest of the frames is left out, and `frames` says how many were inspected.
    """
    count = len(frames) // STATE["batch"] * STATE["batch"]
    pixels = _channels_first(np.array(frames[:count]))
    start = time.perf_counter()
    _infer(pixels)
    return {"seconds": time.perf_counter() - start, "frames": count}


def scores_of(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scores of frames, float32 (N,)."""
    return _infer(_channels_first(np.array(frames)))


def _channels_first(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2))  # (N, H, W, C) -> (N, C, H, W)


def _infer(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    import openvino

    batch = STATE["batch"]
    found: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * (len(pixels) // batch)
    queue = openvino.AsyncInferQueue(STATE["compiled"], STATE["streams"])

    def keep(request: Any, number: int) -> None:
        found[number] = np.array(request.get_output_tensor(0).data).ravel()

    queue.set_callback(keep)
    for number in range(len(found)):
        part = pixels[number * batch : (number + 1) * batch]
        queue.start_async({0: part.astype(np.float32)}, number)
    queue.wait_all()
    scores = np.concatenate(found)
    if len(scores) != len(pixels):
        raise ValueError(f"the export gave {len(scores)} scores for {len(pixels)} frames")
    return scores
