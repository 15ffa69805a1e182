"""Several frames of a batch on one core share its pass through the layers whose weights outgrow its cache.

A layer reads its weights once a frame. Where they are larger than what it reads and writes of the frame, as in the last
stages of a network, they come from memory or a cache that all cores share, and can take longer than the arithmetic:
38 MB for Winograd's filtering of 512 channels, some 3 ms at the 12 GB/s that one core of a Sapphire Rapids gets, where
the arithmetic for a map of 14 x 14 takes 2. With the frames in one product the weights are read once for all of them.

So layers are of two kinds, by shapes alone. Those whose weights are smaller than a frame's values take one frame after
another through as many layers as there are until the next of the other kind: what lies between them stays in cache.
Those whose weights outweigh the frame take all frames before the next layer begins, one after another or in one
product. Which of the two is asked of the machine, once for each kind of layer, size and number of frames: the product
must give each frame the bits that it gets alone, and take less of a core's time. As the bits are the same, so are all
results, whatever the clock has said.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, fx
from torch.fx.node import map_arg

from patchline.engine.features.cpu.fusion import OneDnnConvolution
from patchline.engine.features.cpu.winograd import WinogradConvolution
from patchline.engine.features.fx_graph import called_module
from patchline.engine.numerics.runs import LENGTHS
from patchline.engine.numerics.timing import quickest_s

Convolution: TypeAlias = OneDnnConvolution | WinogradConvolution
Shapes: TypeAlias = tuple[tuple[int, ...], ...]
Results: TypeAlias = dict[fx.Node, Any]
"""What a frame's operations gave, as long as others need it."""
TIMINGS = 2
"""How often a layer is timed each way; the shortest time counts."""


@dataclass(frozen=True, slots=True)
class _Step:
    """Operations that each frame goes through before the next one does; or one convolution of all frames together."""

    nodes: tuple[fx.Node, ...]
    joined: bool


class FramesTogether:
    """A network of fused convolutions (`fusion`), for one frame or for several. Any number of threads may use it.

    Args:
        graph: takes (1, 3, H, W), channels-last, to one map for each stage.
    """

    def __init__(self, graph: fx.GraphModule) -> None:
        self.graph = graph
        """The network itself, its convolutions fused."""
        self._modules = {node: called_module(graph, node) for node in graph.graph.nodes}
        self._unused_after = _unused_after(graph)
        self._shapes: dict[tuple[int, ...], dict[fx.Node, Shapes]] = {}
        self._plans: dict[tuple[tuple[int, ...], int], list[_Step]] = {}
        self._joins: dict[tuple[object, Shapes, int], bool] = {}
        self._planning = Lock()

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        """Feature maps of a frame, by as many threads as torch has in this one; also of a batch, as one tensor, whose
        last bits may then differ from those of its frames.
        """
        maps: Sequence[Tensor] = self.graph(x)
        return maps

    def of_frames(self, frames: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        """Feature maps of each of several frames of one shape, bit for bit those that it has alone.

        One thread takes them together. With more, each frame is shared by all, one after another.
        """
        if len(frames) > 1 and torch.get_num_threads() == 1:
            steps = self._plan(frames[0], len(frames))
            if any(step.joined for step in steps):
                return self._run(steps, frames)
        return [self(frame) for frame in frames]

    @torch.inference_mode()
    def prepare(self, frame: Tensor) -> None:
        """Find out how runs of frames of this shape go through, and pack weights for them; for one thread."""
        for count in LENGTHS[1:]:
            if any(step.joined for step in self._plan(frame, count)):
                self.of_frames([frame] * count)

    def _plan(self, frame: Tensor, count: int) -> list[_Step]:
        """How so many frames of this shape go through the network; while another thread finds out, one by one."""
        key = (tuple(frame.shape), count)
        if key not in self._plans and self._planning.acquire(blocking=False):
            try:
                self._plans[key] = self._make_plan(frame, count)
            finally:
                self._planning.release()
        return self._plans.get(key, [])

    def _make_plan(self, frame: Tensor, count: int) -> list[_Step]:
        shapes_of = self._shapes.get(tuple(frame.shape))
        if shapes_of is None:
            recorder = _ShapeRecorder(self.graph)
            recorder.run(frame)
            shapes_of = self._shapes[tuple(frame.shape)] = recorder.shapes
        steps: list[_Step] = []
        nodes: list[fx.Node] = []
        for node in self.graph.graph.nodes:
            module, shapes = self._modules[node], shapes_of.get(node)
            if not isinstance(module, Convolution) or shapes is None or not module.weights_outweigh(*shapes[0][2:]):
                nodes.append(node)
                continue
            steps += [_Step(tuple(nodes), joined=False)] if nodes else []
            nodes = []
            kind = (module.kind, shapes, count)
            if kind not in self._joins:
                self._joins[kind] = _joining_pays(module, shapes, count)
            steps.append(_Step((node,), joined=self._joins[kind]))
        return [*steps, _Step(tuple(nodes), joined=False)]

    def _run(self, steps: Sequence[_Step], frames: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        of_all: dict[fx.Node, Tensor] = {}
        """Results of joined convolutions; each frame's own is a part of it."""
        of_each: list[Results] = [{} for _ in frames]
        for step in steps:
            if step.joined:
                (node,) = step.nodes
                args = [
                    of_all[arg] if arg in of_all else torch.cat([values[arg] for values in of_each])
                    for arg in cast(tuple[fx.Node, ...], node.args)
                ]
                of_all[node] = result = cast(Convolution, self._modules[node])(*args)
                for position, values in enumerate(of_each):
                    values[node] = result[position : position + 1]
                    self._forget(node, values)
            else:
                for frame, values in zip(frames, of_each, strict=True):
                    for node in step.nodes:
                        values[node] = self._computed(node, frame, values)
                        self._forget(node, values)
            for node in step.nodes:
                self._forget(node, of_all)
        (maps,) = self.graph.graph.find_nodes(op="output")
        return [values[maps] for values in of_each]

    def _computed(self, node: fx.Node, frame: Tensor, values: Results) -> Any:
        """What a node gives for one frame; for the last one, the output, the maps of all stages."""
        args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
        match node.op:
            case "placeholder":
                return frame
            case "get_attr":
                return _attribute(self.graph, cast(str, node.target))
            case "call_function":
                return cast(Callable[..., Any], node.target)(*args, **kwargs)
            case "call_method":
                return getattr(args[0], cast(str, node.target))(*args[1:], **kwargs)
            case "call_module":
                return cast(torch.nn.Module, self._modules[node])(*args, **kwargs)
            case _:
                return args[0]

    def _forget(self, node: fx.Node, values: dict[fx.Node, Any]) -> None:
        """Drop what no operation after `node` reads, so that memory is the network's own."""
        for unused in self._unused_after[node]:
            values.pop(unused, None)


class _ShapeRecorder(fx.Interpreter):
    """Notes the shapes of what each convolution is given."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self._network = graph
        self.shapes: dict[fx.Node, Shapes] = {}

    def run_node(self, n: fx.Node) -> Any:
        if isinstance(called_module(self._network, n), Convolution):
            args, _ = self.fetch_args_kwargs_from_env(n)
            self.shapes[n] = tuple(tuple(arg.shape) for arg in args)
        return super().run_node(n)


def _joining_pays(module: Convolution, shapes: Shapes, count: int) -> bool:
    """Whether one product of `count` frames gives each of them the bits that it has alone, in less time.

    The order of sums does not depend on the values, so noise shows it. The time is that of this thread, on its core.
    """
    generator = torch.Generator().manual_seed(0)
    noise = [
        torch.randn(count, *shape[1:], generator=generator).to(memory_format=torch.channels_last) for shape in shapes
    ]

    def joined() -> Tensor:
        x, *added = noise
        result: Tensor = module(x, *(part.clone() for part in added))  # the second input is overwritten
        return result

    def apart() -> list[Tensor]:
        return [module(*(part[i : i + 1].clone() for part in noise)) for i in range(count)]

    if not torch.equal(joined(), torch.cat(apart())):
        return False
    return quickest_s(joined, TIMINGS) < quickest_s(apart, TIMINGS)


def _unused_after(graph: fx.GraphModule) -> dict[fx.Node, list[fx.Node]]:
    """The nodes that no other reads after each node; every node but the output is read, or dropped at once."""
    unused: dict[fx.Node, list[fx.Node]] = {node: [] for node in graph.graph.nodes}
    order = {node: position for position, node in enumerate(graph.graph.nodes)}
    for node in graph.graph.nodes:
        if node.op != "output":
            unused[max((node, *node.users), key=order.__getitem__)].append(node)
    return unused


def _attribute(graph: fx.GraphModule, target: str) -> Any:
    parent, _, name = target.rpartition(".")
    return getattr(graph.get_submodule(parent), name)
