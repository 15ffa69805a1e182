"""Runs a backbone by OpenVINO on the CPU, an option (`pip install patchline[openvino]`): the same float32 mathematics.

OpenVINO keeps activations in blocks of channels, which pays most where channels are few and convolutions depthwise.
"""

from functools import lru_cache
from importlib.util import find_spec
from threading import Lock, local
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx

from patchline.engine.errors import DeviceError

Shape: TypeAlias = tuple[int, ...]


def installed() -> bool:
    """Whether OpenVINO is installed."""
    return find_spec("openvino") is not None


class OpenVinoNetwork:
    """Makes the feature maps of one frame at a time; any number of threads may call it.

    A thread that computes with one thread has a network of its own, which runs in that very thread: handing each frame
    to a thread of OpenVINO's and waiting for it takes a tenth of a small network's time. Other threads share one
    network, which runs on all cores.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        if not installed():
            raise DeviceError("backbone runtime 'openvino': not installed here; install patchline[openvino]")
        self._graph = graph
        self._cores = torch.get_num_threads()
        self._models: dict[Shape, Any] = {}
        self._on_all_cores: dict[Shape, Any] = {}
        self._making = Lock()
        self._requests = local()

    def __call__(self, x: Tensor) -> list[Tensor]:
        """(1, 3, H, W) float32 to one (1, C_i, h_i, w_i) for each tapped stage."""
        request = self._request(tuple(x.shape), alone=torch.get_num_threads() == 1)
        request.infer({0: x.contiguous().numpy()}, share_inputs=True)
        # Copied: the request's memory is the next frame's.
        return [torch.from_numpy(tensor.data).clone() for tensor in request.output_tensors]

    def _request(self, shape: Shape, *, alone: bool) -> Any:
        """This thread's request for a shape, made when the thread first asks for it."""
        mine: dict[tuple[Shape, bool], Any] | None = getattr(self._requests, "mine", None)
        if mine is None:
            mine = self._requests.mine = {}
        if (shape, alone) not in mine:
            with self._making:
                if alone:
                    network = self._compiled(shape, threads=1)
                else:
                    if shape not in self._on_all_cores:
                        self._on_all_cores[shape] = self._compiled(shape, threads=self._cores)
                    network = self._on_all_cores[shape]
            mine[shape, alone] = network.create_infer_request()
        return mine[shape, alone]

    def _compiled(self, shape: Shape, threads: int) -> Any:
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        }
        return _core().compile_model(self._model(shape), "CPU", options)

    def _model(self, shape: Shape) -> Any:
        if shape not in self._models:
            import openvino

            with torch.inference_mode(False), torch.no_grad():
                exported = torch.export.export(self._graph, (torch.zeros(shape),))
                self._models[shape] = openvino.convert_model(exported)
        return self._models[shape]


@lru_cache(maxsize=1)
def _core() -> Any:
    import openvino

    return openvino.Core()
