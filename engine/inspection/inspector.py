"""Judges frames: one backbone pass for all recipes that share it, then each recipe's own bank."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import RLock
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.errors import ImageError, RecipeError
from patchline.engine.features.device_pipeline import chunk_sizes
from patchline.engine.features.extractor import FeatureExtractor, Runtime, load_backbone
from patchline.engine.features.patches import PatchOptions
from patchline.engine.features.preprocess import prepare
from patchline.engine.features.tiling import TiledExtractor
from patchline.engine.inspection.batch_judge import Answer, BatchJudge
from patchline.engine.inspection.judge import Judge, Maps
from patchline.engine.inspection.matching import check_shapes, kind_of
from patchline.engine.numerics.core_pool import finished, spread_runs_async, submit
from patchline.engine.numerics.device import Precision, resolve_device
from patchline.engine.numerics.quantise import quantise
from patchline.engine.recipe import Backbone
from patchline.engine.search.factory import SearchKind, make_search
from patchline.engine.types import Embedded, Image, Inspection, Rows

Result = TypeVar("Result")
Pass: TypeAlias = tuple[Backbone, tuple[int, int], PatchOptions]
"""What frames must share to go through the backbone together: its specification, the size of what it sees, and what
becomes of its feature maps.
"""
Frame: TypeAlias = tuple[str, Image]
"""A recipe's name and a prepared image."""


class Inspector:
    """Inspects frames with the memory banks of one or more recipes.

    `prepare` may be called from any thread; everything else belongs to one thread at a time.

    Args:
        banks: the bank of each recipe, by the name under which frames ask for it.
        device: `auto`, `cpu` or `cuda[:N]`.
        search: how nearest rows are found; every kind gives the same distances.
        runtime: what runs the backbone on a CPU.
        precision: how the device computes what a recipe states in float32; less than that is computed as stated.
        fetch: names of weights that a bank may have downloaded (`features.weights.locate`).

    Raises:
        RecipeError, WeightsError, DeviceError: as in `load_backbone` and `resolve_device`.
        RecipeError: the backbone makes other embeddings than those in the bank.

    Example:
        With the bank of a recipe "part", and a photograph `image`, RGB uint8 (H, W, 3):

        >>> from patchline.engine import Inspector
        >>> inspector = Inspector({"part": bank}, device="cpu")
        >>> frame = inspector.prepare("part", image)
        >>> (result,) = inspector.inspect([("part", frame)], maps="all")
        >>> result.verdict.value, result.score <= result.threshold, result.anomaly_map.dtype
        ('pass', True, dtype('float32'))
    """

    def __init__(
        self,
        banks: Mapping[str, MemoryBank],
        *,
        device: str = "auto",
        search: SearchKind = "auto",
        runtime: Runtime = "auto",
        precision: Precision = "auto",
        fetch: Collection[str] = (),
    ) -> None:
        self._device = resolve_device(device)
        self._batched = self._device.type != "cpu"
        self._backbones: dict[Backbone, FeatureExtractor] = {}
        self._judges: dict[str, Judge] = {}
        self._tiled: dict[str, TiledExtractor] = {}
        self._batch_judges: dict[str, BatchJudge] = {}
        self._used: dict[str, dict[str, set[int]]] = {}
        self._turn = RLock()
        """Held by the thread that tells the device something, where there is one."""
        self._answers = ThreadPoolExecutor(1, thread_name_prefix="patchline-answers")
        for name, bank in banks.items():
            spec = bank.recipe.backbone
            if spec not in self._backbones:
                self._backbones[spec] = load_backbone(spec, self._device, runtime, precision, fetch)
            self._tiled[name] = TiledExtractor(bank.recipe, self._backbones[spec])
            check_shapes(name, bank, self._tiled[name])
            self._judges[name] = Judge(name, bank, make_search(search, bank.values(), str(self._device)))

    @property
    def recipes(self) -> Mapping[str, MemoryBank]:
        """The bank of each recipe."""
        return {name: judge.bank for name, judge in self._judges.items()}

    @property
    def slots(self) -> int:
        """Frames that it computes side by side: one on each core, or a batch of any size on a device."""
        return 1 if self._batched else torch.get_num_threads()

    def prepare(self, recipe: str, image: Image) -> Image:
        """Bring an RGB uint8 (H, W, 3) frame to its recipe's size.

        Raises:
            RecipeError: no bank of that recipe is loaded.
            ImageError: `image` is not RGB uint8 (H, W, 3).
        """
        return prepare(image, self._judge(recipe).bank.recipe.image_size_px)

    def inspect(self, frames: Sequence[Frame], *, maps: Maps = "none") -> list[Inspection]:
        """Judge frames, each a recipe's name and an image from `prepare`, in the order given.

        On a CPU each core takes frames of its own through backbone and search, up to four of a kind together; frames
        that would leave cores idle are shared by all cores, if that gives the same bits.

        Raises:
            RecipeError: no bank of a frame's recipe is loaded.
            ImageError: an image is not of its recipe's size.
        """
        if self._batched:
            return self._begin_batch(frames, [self._pass(frame) for frame in frames], maps)()
        return self.begin(frames, maps=maps).result()

    def begin(self, frames: Sequence[Frame], *, maps: Maps = "none") -> "Future[list[Inspection]]":
        """`inspect`, answered later: the next frames may be begun meanwhile, so that no core waits for the slowest one,
        nor a device for the host. Raises as `inspect`, at once.
        """
        passes = [self._pass(frame) for frame in frames]
        if self._batched:
            return self._answers.submit(self._begin_batch(frames, passes, maps))
        # Every frame must come out alike on one core and on all, or none may be shared by all.
        return spread_runs_async(
            lambda run: self._inspect_here(run, maps),
            frames,
            lambda: all(self._backbones[spec].bits_alike(size_px, options) for spec, size_px, options in set(passes)),
            [shared if self._joins(frame) else i for i, (frame, shared) in enumerate(zip(frames, passes, strict=True))],
        )

    def embed(self, recipe: str, image: Image) -> Rows:
        """Patch embeddings of a prepared image as the recipe's bank stores them, int16 (h*w, D).

        Raises:
            RecipeError: no bank of that recipe is loaded.
            ImageError: the image is not of the recipe's size.
        """
        self._pass((recipe, image))
        bands = [band.float().cpu().numpy() for band in self._tiled[recipe].bands(image)]
        return quantise(np.concatenate(bands), self._judge(recipe).bank.scale)

    def embed_to_learn(self, recipe: str, image: Image) -> Embedded:
        """`embed`, with what the bank that judges now says of the patches, from one pass through the backbone."""
        self._pass((recipe, image))
        judge = self._judge(recipe)
        embeddings = np.concatenate([band.float().cpu().numpy() for band in self._tiled[recipe].bands(image)])
        score, nearest = judge.measure(embeddings)
        return Embedded(quantise(embeddings, judge.bank.scale), nearest, score.value)

    def begin_embed(self, recipe: str, image: Image) -> "Future[Rows]":
        """`embed`, answered later: a frame among those that are inspected, on one core. See `begin`."""
        return self._begin_one(lambda: self.embed(recipe, image))

    def begin_embed_to_learn(self, recipe: str, image: Image) -> "Future[Embedded]":
        """`embed_to_learn`, answered later, as `begin_embed`."""
        return self._begin_one(lambda: self.embed_to_learn(recipe, image))

    def _begin_one(self, work: Callable[[], Result]) -> "Future[Result]":
        if not self._batched:
            return submit(work)
        with self._turn:
            return finished(work)

    def swaps_beside(self, recipe: str) -> bool:
        """Whether its bank may be swapped while frames that were begun are not answered; where rows age, or the index
        grows under those who search it, it may not.

        Raises RecipeError: no bank of that recipe is loaded.
        """
        judge = self._judge(recipe)
        return not self._batched and judge.used is None and judge.index.copy_can_grow

    def swap(self, recipe: str, bank: MemoryBank) -> None:
        """Judge by another generation of a recipe's bank from the next `inspect` on; see `swap_steps`."""
        for _ in self.swap_steps(recipe, bank):
            pass

    def swap_steps(self, recipe: str, bank: MemoryBank) -> Iterator[None]:
        """Make another generation ready in slices; frames may be inspected between them, by the old one until the end.

        Where the generation only adds rows, the index grows in place; else another is built from its rows.

        Raises:
            RecipeError: no bank of that recipe is loaded, or the bank was fitted by another recipe.
        """
        judge = self._judge(recipe)
        if kind_of(bank) != kind_of(judge.bank):
            raise RecipeError(
                f"recipe {recipe!r}: generation {bank.generation} was not fitted by the recipe that is loaded; "
                f"expected a generation of the same store"
            )
        next_judge = yield from judge.follow_steps(bank)
        self._note_used(recipe)
        self._judges[recipe] = next_judge
        self._batch_judges.pop(recipe, None)

    def take_used(self, recipe: str) -> dict[str, set[int]]:
        """The rows that were a patch's nearest since the last call, as the patches of each frame.

        Empty where the recipe lets no row age. Raises RecipeError: no bank of that recipe is loaded.
        """
        self._note_used(recipe)
        return self._used.pop(recipe, {})

    def warm_up(self) -> None:
        """Inspect blank frames of every recipe in batches of all kinds, so that the first real one is not slow."""
        blank = [(name, np.zeros((*b.recipe.image_size_px, 3), dtype=np.uint8)) for name, b in self.recipes.items()]
        for frame in blank:
            sizes = chunk_sizes(frame[1].shape) if self._batched else [1, torch.get_num_threads()]
            for size in sizes:
                self.inspect([frame] * size, maps="all")
        for spec, size_px, _ in {self._pass(frame) for frame in blank}:
            self._backbones[spec].prepare_runs(size_px)

    def _note_used(self, recipe: str) -> None:
        judge = self._judge(recipe)
        if recipe in self._batch_judges:
            self._batch_judges[recipe].note_used()
        if judge.used is None:
            return
        noted = self._used.setdefault(recipe, {})
        for row in np.flatnonzero(judge.used):
            frame, patch = judge.bank.provenance(int(row))
            noted.setdefault(frame, set()).add(patch)
        judge.used[:] = False

    def _pass(self, frame: Frame) -> Pass:
        """What the frame's backbone pass is; raises for a frame that cannot be inspected."""
        name, image = frame
        recipe = self._judge(name).bank.recipe
        if image.shape[:2] != recipe.image_size_px:
            raise ImageError(
                f"recipe {name!r}: expected a prepared image of {recipe.image_size_px}, found {image.shape}"
            )
        return recipe.backbone, self._tiled[name].pass_size_px, self._tiled[name].options

    def _joins(self, frame: Frame) -> bool:
        """Whether one core takes such frames through the backbone together."""
        recipe = self._judge(frame[0]).bank.recipe
        return recipe.tiling is None and self._backbones[recipe.backbone].joins

    def _inspect_here(self, frames: Sequence[Frame], maps: Maps) -> list[Inspection]:
        """Frames that may go through the backbone together, or a single one, by the thread that calls."""
        judges = [self._judge(name) for name, _ in frames]
        bands: Sequence[Iterable[NDArray[np.float32]]]
        if len(frames) == 1:
            ((name, image),) = frames
            bands = [(band.cpu().numpy() for band in self._tiled[name].bands(image))]
        else:
            spec, _, options = self._pass(frames[0])
            embedded = self._backbones[spec].embed_here([image for _, image in frames], options)
            bands = [[embeddings[0].numpy()] for embeddings, _ in embedded]
        return [judge.judge(own, judge.bank.grid, maps) for judge, own in zip(judges, bands, strict=True)]

    def _begin_batch(self, frames: Sequence[Frame], passes: Sequence[Pass], maps: Maps) -> Answer:
        """One backbone pass for all frames that share it, then each recipe's frames together."""
        shared: dict[Pass, list[int]] = {}
        begun: list[tuple[list[int], Answer]] = []
        with self._turn:
            for position, shared_pass in enumerate(passes):
                name, image = frames[position]
                if self._judge(name).bank.recipe.tiling is None:
                    shared.setdefault(shared_pass, []).append(position)
                    continue
                bands, grid = self._tiled[name].bands(image), self._judge(name).bank.grid
                judged = [self._batch_judge(name).judge_bands(bands, grid, maps)]
                begun.append(([position], partial(list, judged)))
            for (spec, _, options), positions in shared.items():
                images = [frames[position][1] for position in positions]
                embeddings, grid = self._backbones[spec].embed_batch(images, options)
                recipes: dict[str, list[int]] = {}
                for index, position in enumerate(positions):
                    recipes.setdefault(frames[position][0], []).append(index)
                for name, indices in recipes.items():
                    own = embeddings if len(recipes) == 1 else embeddings[indices]
                    answer = self._batch_judge(name).begin(own, grid, maps)
                    begun.append(([positions[index] for index in indices], answer))

        def answers() -> list[Inspection]:
            inspections: dict[int, Inspection] = {}
            for positions, answer in begun:
                inspections.update(zip(positions, answer(), strict=True))
            return [inspections[position] for position in range(len(frames))]

        return answers

    def _batch_judge(self, name: str) -> BatchJudge:
        if name not in self._batch_judges:
            self._batch_judges[name] = BatchJudge.on(self._device, self._judge(name), self._turn)
        return self._batch_judges[name]

    def _judge(self, recipe: str) -> Judge:
        try:
            return self._judges[recipe]
        except KeyError:
            known = ", ".join(sorted(self._judges)) or "none"
            raise RecipeError(f"recipe {recipe!r} has no memory bank here; loaded: {known}") from None
