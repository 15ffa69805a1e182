"""A backbone run by OpenVINO on the CPU, an option (`pip install patchline[openvino]`): the same float32 mathematics.

OpenVINO keeps activations in blocks of channels, which pays most where channels are few and convolutions depthwise.
"""

from functools import lru_cache
from importlib.util import find_spec
from threading import Lock, local
from typing import Any

import torch
from torch import Tensor, fx

from engine.errors import DeviceError


def available() -> bool:
    """Whether OpenVINO is installed."""
    return find_spec("openvino") is not None


class OpenVinoNetwork:
    """Feature maps of one frame; any number of threads may call it.

    A model is compiled for each image size, once for one frame on all cores and once for a frame on each core.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        if not available():
            raise DeviceError("backbone runtime 'openvino': not installed here; install patchline[openvino]")
        self._graph = graph
        self._cores = torch.get_num_threads()
        self._compiled: dict[tuple[tuple[int, ...], int], Any] = {}
        self._compiling = Lock()
        self._requests = local()

    def __call__(self, x: Tensor) -> list[Tensor]:
        """(1, 3, H, W) float32 to one (1, C_i, h_i, w_i) for each tapped stage."""
        streams = self._cores if torch.get_num_threads() == 1 else 1
        request = self._request((tuple(x.shape), streams))
        request.infer({0: x.contiguous().numpy()}, share_inputs=True)
        # Copied: the request's memory is the next frame's.
        return [torch.from_numpy(tensor.data).clone() for tensor in request.output_tensors]

    def _request(self, key: tuple[tuple[int, ...], int]) -> Any:
        mine: dict[tuple[tuple[int, ...], int], Any] | None = getattr(self._requests, "mine", None)
        if mine is None:
            mine = self._requests.mine = {}
        if key not in mine:
            with self._compiling:
                if key not in self._compiled:
                    self._compiled[key] = self._compile(*key)
            mine[key] = self._compiled[key].create_infer_request()
        return mine[key]

    def _compile(self, shape: tuple[int, ...], streams: int) -> Any:
        import openvino

        with torch.inference_mode(False), torch.no_grad():
            model = openvino.convert_model(torch.export.export(self._graph, (torch.zeros(shape),)))
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": self._cores,
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,
        }
        return _core().compile_model(model, "CPU", options)


@lru_cache(maxsize=1)
def _core() -> Any:
    import openvino

    return openvino.Core()
