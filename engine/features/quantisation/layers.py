"""What a network in 8-bit integers calls: convolutions, and the steps into integers and out of them."""

from threading import Lock
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from patchline.engine.features.cpu.fusion import onednn_name
from patchline.engine.features.quantisation.processor import LARGEST_WEIGHT
from patchline.engine.features.quantisation.ranges import Affine


class FloatConvolution(nn.Module):
    """A convolution, a sum and an activation in float32: what is observed, and what becomes `Int8Convolution`."""

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None) -> None:
        super().__init__()
        self.convolution = convolution
        self.activation = activation

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """(B, C, H, W), channels-last, to the same; `added` stays as it is."""
        result: Tensor = self.convolution(x)
        if added is not None:
            result = result + added
        return result if self.activation is None else cast(Tensor, self.activation(result))


class Int8Convolution(nn.Module):
    """A convolution of 8-bit integers, a sum and an activation; integers or float32 come out.

    Args:
        of: the same in float32.
        source: what the input's integers stand for.
        added: what those stand for that are added; None where nothing is.
        target: what the output's integers stand for; None: it is float32, as then is what is added.
    """

    def __init__(
        self, of: FloatConvolution, source: Affine, added: Affine | None = None, target: Affine | None = None
    ) -> None:
        super().__init__()
        convolution = of.convolution
        weight = convolution.weight.detach().float()
        largest = weight.abs().amax(dim=(1, 2, 3))
        scales = torch.where(largest > 0, largest / LARGEST_WEIGHT, 1.0)  # one for each output channel
        self._weight = torch.round(weight / scales[:, None, None, None]).to(torch.int8)
        self.register_buffer("scales", scales, persistent=False)
        self.register_buffer("zero_points", torch.zeros(len(scales), dtype=torch.int32), persistent=False)
        bias = None if convolution.bias is None else convolution.bias.detach().float()
        self.register_buffer("bias", bias, persistent=False)
        self._geometry = (
            list(convolution.stride),
            list(cast(tuple[int, int], convolution.padding)),
            list(convolution.dilation),
            convolution.groups,
        )
        self._source = source
        self._added = added or Affine(1.0, 0)
        self._target = target or Affine(1.0, 0)
        self._dtype = torch.float32 if target is None else torch.uint8
        self._activation, self._scalars = onednn_name(of.activation)
        self._packed: dict[tuple[int, tuple[int, ...]], Tensor] = {}
        self._lock = Lock()

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """uint8 (B, C, H, W), channels-last, to uint8 or float32 (B, O, H', W'); `added` is overwritten."""
        convolve = torch.ops.onednn.qconv2d_pointwise
        of = (x, *self._source, self._weight_for(x), self.scales, self.zero_points)
        into = (*self._geometry, *self._target, self._dtype)
        if added is None:
            result: Tensor = convolve(*of, self.bias, *into, self._activation, self._scalars, "")
            return result
        convolve.binary(*of, added, self.bias, *into, *self._added, "sum", 1.0, self._activation, self._scalars, "")
        return added

    def _weight_for(self, x: Tensor) -> Tensor:
        """The weight in the layout that oneDNN wants for an input of this shape and this number of threads."""
        key = (torch.get_num_threads(), tuple(x.shape))
        packed = self._packed.get(key)
        if packed is None:
            with self._lock, torch.inference_mode(False), torch.no_grad():
                packed = self._packed[key] = torch.ops.onednn.qconv_prepack(
                    self._weight, self.scales, *self._source, *self._geometry, list(x.shape)
                )
        return packed


class Quantise(nn.Module):
    """Float32 to 8-bit integers."""

    def __init__(self, affine: Affine) -> None:
        super().__init__()
        self._affine = affine

    def forward(self, values: Tensor) -> Tensor:
        """float32 to uint8 of the same shape."""
        return self._affine.quantise(values)


class Dequantise(nn.Module):
    """8-bit integers to float32."""

    def __init__(self, affine: Affine) -> None:
        super().__init__()
        self._affine = affine

    def forward(self, integers: Tensor) -> Tensor:
        """uint8 to float32 of the same shape."""
        return self._affine.dequantise(integers)


class Int8MaxPool(nn.Module):
    """The largest of 3 x 3 integers, every second pixel, one pixel of border; PyTorch's takes no large uint8 maps."""

    def forward(self, x: Tensor) -> Tensor:
        """uint8 (B, C, H, W), channels-last, to uint8 (B, C, ceil(H / 2), ceil(W / 2))."""
        H, W = x.shape[2:]
        h, w = (H + 1) // 2, (W + 1) // 2
        pixels = pad(x.permute(0, 2, 3, 1), (0, 0, 1, 2 * w - W, 1, 2 * h - H))  # (B, 2h+1, 2w+1, C); 0 is the least
        rows = torch.maximum(pixels[:, :-2:2], pixels[:, 1:-1:2])
        torch.maximum(rows, pixels[:, 2::2], out=rows)
        result = torch.maximum(rows[:, :, :-2:2], rows[:, :, 1:-1:2])
        torch.maximum(result, rows[:, :, 2::2], out=result)
        return result.permute(0, 3, 1, 2)

    @staticmethod
    def fits(module: nn.Module | None) -> bool:
        """Whether it computes what a module does."""
        return (
            isinstance(module, nn.MaxPool2d)
            and module.kernel_size in (3, (3, 3))
            and module.stride in (2, (2, 2))
            and module.padding in (1, (1, 1))
            and module.dilation in (1, (1, 1))
            and not module.ceil_mode
            and not module.return_indices
        )
