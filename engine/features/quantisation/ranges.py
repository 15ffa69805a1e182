"""The range of values of each tensor that becomes 8-bit integers, and the integers that they become.

A range is observed on images of good parts, through the float32 network. What reaches beyond it in a frame takes the
range's end, which is as far as good parts go in any case. The image's own range is known: that of pixels.
"""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from patchline.engine.recipe import Backbone

LEVELS = 255
"""The largest 8-bit integer; the smallest is 0."""
PIXELS = "image"
"""The name of the tensor that goes into the network."""


class Affine(NamedTuple):
    """How integers stand for values: value = (integer - zero_point) * scale."""

    scale: float
    zero_point: int

    @classmethod
    def of(cls, low: float, high: float) -> "Affine":
        """The finest that reaches from `low` to `high`, with an integer for 0 exactly: it fills borders."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / LEVELS or 1.0
        return cls(scale, min(LEVELS, max(0, round(-low / scale))))

    def quantise(self, values: Tensor) -> Tensor:
        """Float32 to the nearest of uint8, half up; what lies beyond the range takes its end."""
        # Three passes over the values, as fewer cannot be told to PyTorch: the last one cuts fractions off.
        shifted = torch.add(torch.tensor(self.zero_point + 0.5), values, alpha=1 / self.scale)
        return shifted.clamp_(0, LEVELS).to(torch.uint8)

    def dequantise(self, integers: Tensor) -> Tensor:
        """Uint8 to float32."""
        return integers.float().sub_(self.zero_point).mul_(self.scale)


def of_pixels(spec: Backbone) -> tuple[float, float]:
    """The range of normalised pixels."""
    ends = [(pixel - mean) / std for pixel in (0, 255) for mean, std in zip(spec.mean, spec.std, strict=True)]
    return min(ends), max(ends)


class Observer:
    """Runs a network and notes the smallest and largest value of some of its tensors; any thread may.

    Args:
        graph: the network.
        points: the nodes to observe, by the names of their ranges.
    """

    def __init__(self, graph: fx.GraphModule, points: Mapping[str, fx.Node]) -> None:
        self._graph = graph
        self._names = {node: name for name, node in points.items()}
        self._found: dict[str, tuple[float, float]] = {}
        self._lock = Lock()

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> None:
        """Take (B, 3, H, W), channels-last float32, through the network."""
        _Observing(self._graph, self._names, self._note).run(x)

    def ranges(self) -> tuple[tuple[str, float, float], ...]:
        """The ranges so far, in the order of the network."""
        return tuple((name, *self._found[name]) for name in self._names.values())

    def _note(self, name: str, low: float, high: float) -> None:
        with self._lock:
            before = self._found.get(name, (low, high))
            self._found[name] = (min(low, before[0]), max(high, before[1]))


class _Observing(fx.Interpreter):
    def __init__(
        self, graph: fx.GraphModule, names: Mapping[fx.Node, str], note: Callable[[str, float, float], None]
    ) -> None:
        super().__init__(graph)
        self._names = names
        self._note = note

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n in self._names:
            low, high = torch.aminmax(result)
            self._note(self._names[n], float(low), float(high))
        return result


def affines(spec: Backbone) -> dict[str, Affine]:
    """What the integers of each tensor stand for, by its name."""
    return {name: Affine.of(low, high) for name, low, high in (*spec.ranges, (PIXELS, *of_pixels(spec)))}
