"""PatchCore inspection with a memory bank that learns: the public Python API of Patchline's engine.

Fit a bank to images of good parts, inspect with it, look at a map of what is odd, and see how well it does::

    >>> import numpy as np
    >>> from patchline.engine import Inspector, Recipe, evaluate, fit, preset, save_bank
    >>> rng = np.random.default_rng(0)  # noise stands in for photographs, RGB uint8 (H, W, 3)
    >>> parts = [rng.integers(90, 110, (64, 64, 3), dtype=np.uint8) for _ in range(20)]
    >>> parts[19][24:40, 24:40] = 255  # a defect
    >>> lite = preset("efficientnet_lite0")
    >>> recipe = Recipe(name="part", backbone=lite, image_size_px=(64, 64), false_reject_rate=0.2)
    >>> bank = fit([(f"part-{n}", image) for n, image in enumerate(parts[:16])], recipe, device="cpu").bank
    >>> results = Inspector({"part": bank}, device="cpu").inspect([("part", image) for image in parts[16:]], maps="all")
    >>> results[3].verdict, results[3].anomaly_map.shape, results[3].worst_patch
    (<Verdict.REJECT: 'reject'>, (64, 64), (4, 4))
    >>> evaluate([result.score for result in results], ["good"] * 3 + ["scratch"], threshold=bank.threshold).image_auroc
    1.0
    >>> save_bank(bank, "banks/part")  # `load_bank` reads it again, and a `Learner` goes on from there
    'banks/part/generation-000001.json'

The engine is synchronous and deterministic. Errors that it raises on purpose are `PatchlineError`. Its rooms import
downwards only:

========================================  ==========================================================================
`fitting`, `learning`, `benchmark`        make a bank, make the next generation of one, measure
`inspection`, `evaluation`                judge frames, judge scores
`bank`                                    the memory bank, its calibration, its chain of generations on disk
`coreset`                                 which patches become rows
`search`, `features`                      nearest rows; from pixels to patch embeddings
`numerics`                                devices, cores, matrix products, exact integer distances
`types`, `recipe`, `errors`               what all of them speak of
========================================  ==========================================================================

Names are imported when they are first asked for, so that `import patchline.engine` costs nothing. The engine knows
nothing of brokers, HTTP, settings or the time of day (`stream` and `ops` do).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchline.engine.bank.memory_bank import MemoryBank
    from patchline.engine.bank.store import GenerationStore, load_bank, save_bank
    from patchline.engine.errors import PatchlineError
    from patchline.engine.evaluation.metrics import evaluate
    from patchline.engine.features.weights import preset
    from patchline.engine.fitting.fit import fit
    from patchline.engine.inspection.inspector import Inspector
    from patchline.engine.learning.learner import Learner
    from patchline.engine.learning.requests import Confirmation, Rollback, ThresholdChoice, Unlearning
    from patchline.engine.recipe import Backbone, Recipe, Tiling
    from patchline.engine.types import AnomalyMap, Image, Inspection, Verdict

    __version__: str

__all__ = [
    "AnomalyMap",
    "Backbone",
    "Confirmation",
    "GenerationStore",
    "Image",
    "Inspection",
    "Inspector",
    "Learner",
    "MemoryBank",
    "PatchlineError",
    "Recipe",
    "Rollback",
    "ThresholdChoice",
    "Tiling",
    "Unlearning",
    "Verdict",
    "__version__",
    "evaluate",
    "fit",
    "load_bank",
    "preset",
    "save_bank",
]

_MODULE_OF = {
    "AnomalyMap": "types",
    "Backbone": "recipe",
    "Confirmation": "learning.requests",
    "GenerationStore": "bank.store",
    "Image": "types",
    "Inspection": "types",
    "Inspector": "inspection.inspector",
    "Learner": "learning.learner",
    "MemoryBank": "bank.memory_bank",
    "PatchlineError": "errors",
    "Recipe": "recipe",
    "Rollback": "learning.requests",
    "ThresholdChoice": "learning.requests",
    "Tiling": "recipe",
    "Unlearning": "learning.requests",
    "Verdict": "types",
    "evaluate": "evaluation.metrics",
    "fit": "fitting.fit",
    "load_bank": "bank.store",
    "preset": "features.weights",
    "save_bank": "bank.store",
}


def __getattr__(name: str) -> Any:
    """The public name, from the module that defines it (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("patchline")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value  # so that it is asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
