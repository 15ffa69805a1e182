"""The backbone that the options of `fit` describe."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from patchline.ops.errors import InputError

if TYPE_CHECKING:
    from patchline.engine.recipe import Backbone

Library = Literal["torchvision", "timm"]
Runtime = Literal["auto", "torch", "openvino"]
Precision = Literal["auto", "float32"]
FitPrecision = Literal["auto", "float32", "bfloat16", "int8", "lowest"]
DEFAULT_STAGES: dict[Library, str] = {"torchvision": "layer2,layer3", "timm": "2,3"}
DEFAULT_WEIGHTS: dict[Library, str] = {"torchvision": "IMAGENET1K_V1", "timm": ""}


@dataclass(frozen=True, slots=True)
class BackboneOptions:
    """What was asked for; None where an option was not given."""

    name: str
    library: Library | None = None
    stages: str | None = None
    weights: str | None = None
    mean: str | None = None
    std: str | None = None


def build_backbone(options: BackboneOptions) -> "Backbone":
    """A preset by its name alone, or any backbone of a library, its weights pinned by the SHA-256 they have now.

    Raises:
        InputError: an option cannot be understood.
        WeightsError: the weights are not there.
    """
    from patchline.engine.features.weight_files import hub_name, locate
    from patchline.engine.features.weights import (
        IMAGENET_MEAN,
        IMAGENET_STD,
        PRESETS,
        random_sha256,
        sha256_of,
    )
    from patchline.engine.recipe import Backbone

    own = [
        f"--{f.name}" for f in dataclasses.fields(options) if f.name != "name" and getattr(options, f.name) is not None
    ]
    if options.name in PRESETS and not own:
        return PRESETS[options.name]
    library = options.library or "torchvision"
    weights = options.weights or DEFAULT_WEIGHTS[library]
    if Path(weights).is_file():
        weights = f"file:{Path(weights).resolve()}"
    if not weights:
        raise InputError(f"--weights: missing; expected a file or timm's name of the weights of {options.name}")
    spec = Backbone(
        library=library,
        name=options.name,
        stages=tuple(part.strip() for part in (options.stages or DEFAULT_STAGES[library]).split(",")),
        weights=weights,
        weights_sha256="",
        mean=_channels(options.mean, "--mean", IMAGENET_MEAN),
        std=_channels(options.std, "--std", IMAGENET_STD),
    )
    kind, _, value = weights.partition(":")
    if kind == "random":
        if not value.isdigit():
            raise InputError(f"--weights: {weights!r}; expected random:SEED with a whole number")
        sha256 = random_sha256(int(value))
    else:
        path = locate(spec, fetch=(hub_name(spec),))  # who fits names them himself
        if not path.is_file():
            raise InputError(f"--weights: {path}: no such file")
        sha256 = sha256_of(path)
    return Backbone(
        library=spec.library,
        name=spec.name,
        stages=spec.stages,
        weights=spec.weights,
        weights_sha256=sha256,
        mean=spec.mean,
        std=spec.std,
    )


def of_recipe(precision: FitPrecision) -> Literal["float32", "bfloat16", "int8"]:
    """The recipe's precision that is asked for; `lowest` begins with float32."""
    return precision if precision in ("bfloat16", "int8") else "float32"


def of_device(precision: FitPrecision) -> Precision:
    """How a device computes what a recipe states in float32."""
    return "float32" if precision == "float32" else "auto"


def _channels(text: str | None, option: str, default: tuple[float, float, float]) -> tuple[float, float, float]:
    if text is None:
        return default
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"{option}: {text!r}; expected three numbers, R,G,B, in the units of 8-bit pixels") from None
    if option == "--std" and min(red, green, blue) <= 0:
        raise InputError(f"{option}: {text!r}; expected three numbers above 0")
    return red, green, blue
