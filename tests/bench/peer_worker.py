"""The peer's side: runs in the peer's environment, knows nothing of Patchline, answers one JSON line with another.

`python -m tests.bench.peer_worker`. Tensors come and go as .npy and .safetensors files. Times are taken here, around
the work alone. Requests to FAISS are in `peer_flat`, those to an export of anomalib's to OpenVINO in `peer_openvino`.
"""

import contextlib
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.bench import peer_flat, peer_openvino
from tests.bench.loaded import loaded

REPLIES = os.fdopen(os.dup(1), "w")
# What the libraries print must not get between the replies.
os.dup2(2, 1)

STATE: dict[str, Any] = {}


def hello() -> dict[str, Any]:
    """Threads, and what the process has loaded by now."""
    return {"threads": torch.get_num_threads(), "loaded": loaded()}


def version() -> dict[str, Any]:
    """anomalib's version."""
    import anomalib

    return {"anomalib": anomalib.__version__}


def memory() -> dict[str, Any]:
    """Peak resident memory so far."""
    return {"peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def load_model(
    backbone: str, layers: list[str], weights: str, mean: list[float], std: list[float], neighbours: int, bank: str = ""
) -> dict[str, Any]:
    """anomalib's PatchcoreModel with weights from a state dict, and rows from a .npy file unless it is to be fitted."""
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel
    from safetensors.torch import load_file

    model = PatchcoreModel(layers=layers, backbone=backbone, pre_trained=False, num_neighbors=neighbours)
    network = model.feature_extractor.feature_extractor
    state = load_file(weights)
    wanted = network.state_dict().keys()
    network.load_state_dict({name: state[name] for name in wanted}, strict=True)
    if bank:
        model.memory_bank = torch.from_numpy(np.load(bank))
    model.eval()
    STATE["model"] = model
    STATE["mean"] = torch.tensor(mean).view(1, 3, 1, 1)
    STATE["std"] = torch.tensor(std).view(1, 3, 1, 1)
    return {"tensors": len(wanted), "rows": len(model.memory_bank)}


def load_frames(frames: str) -> dict[str, Any]:
    """Prepared images, uint8 (N, H, W, 3), for the requests that follow."""
    # Memory-mapped, so that frames not yet read do not count as the peer's memory.
    STATE["frames"] = np.load(frames, mmap_mode="r")
    return {"frames": len(STATE["frames"])}


def _batches(batch: int) -> Iterator[torch.Tensor]:
    frames = STATE["frames"]
    for start in range(0, len(frames), batch):
        # (B, H, W, C) -> (B, C, H, W)
        yield torch.from_numpy(np.array(frames[start : start + batch])).permute(0, 3, 1, 2).contiguous()


def _normalised(pixels: torch.Tensor) -> torch.Tensor:
    normalised: torch.Tensor = (pixels.float() - STATE["mean"]) / STATE["std"]
    return normalised


def time_inspect(batch: int) -> dict[str, Any]:
    """Seconds to inspect all frames: normalise, backbone, embedding, search, Eq. 6-7, map."""
    with torch.inference_mode():
        batches = list(_batches(batch))
        start = time.perf_counter()
        for pixels in batches:
            STATE["model"](_normalised(pixels))
        return {"seconds": time.perf_counter() - start}


def predict(batch: int, scores: str, maps: str) -> dict[str, Any]:
    """Scores float32 (N,) and maps float32 (N, H, W) of all frames, as .npy files."""
    with torch.inference_mode():
        found = [STATE["model"](_normalised(pixels)) for pixels in _batches(batch)]
    np.save(scores, torch.cat([f.pred_score for f in found]).numpy())
    np.save(maps, torch.cat([f.anomaly_map[:, 0] for f in found]).numpy())
    return {}


def fit(batch: int, fraction: float, seed: int, bank: str = "") -> dict[str, Any]:
    """Build the memory bank from all frames, as anomalib's training does, and return the seconds of each part.

    The rows go to the .npy file `bank` where one is named.
    """
    torch.manual_seed(seed)
    model = STATE["model"]
    start = time.perf_counter()
    model.train()
    with torch.inference_mode():
        for pixels in _batches(batch):
            model(_normalised(pixels))
    embedded = time.perf_counter()
    model.subsample_embedding(fraction)
    model.eval()
    if bank:
        np.save(bank, model.memory_bank.numpy())
    return {
        "embed_s": embedded - start,
        "coreset_s": time.perf_counter() - embedded,
        "rows": len(model.memory_bank),
        **memory(),
    }


def coreset(vectors: str, fraction: float, seed: int, indices: str) -> dict[str, Any]:
    """Seconds of anomalib's KCenterGreedy on float32 (N, D) of a .npy file, and the page faults that it waited for; the
    rows chosen go to another.
    """
    from anomalib.models.components import KCenterGreedy

    torch.manual_seed(seed)
    embedding = torch.from_numpy(np.load(vectors))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    start = time.perf_counter()
    chosen = KCenterGreedy(embedding=embedding, sampling_ratio=fraction).select_coreset_idxs()
    seconds = time.perf_counter() - start
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    np.save(indices, np.array(chosen, dtype=np.int64))
    return {"seconds": seconds, "rows": len(chosen), "page_faults": faults}


def export_openvino(batch: int, folder: str) -> dict[str, Any]:
    """Write the model that is loaded, with its normalisation, as anomalib exports it, for batches of one size."""
    _, H, W, _ = STATE["frames"].shape
    return peer_openvino.export(STATE["model"], STATE["mean"], STATE["std"], (H, W), batch, folder)


def compile_openvino(model: str, batch: int, streams: int, threads: int) -> dict[str, Any]:
    """Load an export for batches of one size."""
    return peer_openvino.compile_export(model, batch, streams, threads)


def time_openvino() -> dict[str, Any]:
    """Seconds to inspect all frames by what was compiled last."""
    return peer_openvino.time_inspect(STATE["frames"])


def predict_openvino(scores: str) -> dict[str, Any]:
    """Scores float32 (N,) of all frames, as a .npy file."""
    np.save(scores, peer_openvino.scores_of(STATE["frames"]))
    return {}


REQUESTS: dict[str, Callable[..., dict[str, Any]]] = {
    f.__name__: f
    for f in (
        hello,
        version,
        memory,
        load_model,
        load_frames,
        time_inspect,
        predict,
        fit,
        coreset,
        export_openvino,
        compile_openvino,
        time_openvino,
        predict_openvino,
        peer_flat.flat_load,
        peer_flat.flat_time,
        peer_flat.flat_search,
    )
}


def main() -> None:
    """Answer requests until there are no more."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            with Path(os.devnull).open("w") as quiet, contextlib.redirect_stderr(quiet):  # progress bars
                reply = REQUESTS[request.pop("do")](**request)
        except Exception:  # whatever went wrong is the caller's to show
            reply = {"error": traceback.format_exc()}
        REPLIES.write(json.dumps(reply) + "\n")
        REPLIES.flush()


if __name__ == "__main__":
    main()
