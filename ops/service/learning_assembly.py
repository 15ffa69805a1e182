"""From settings to the parts of learning: evidence, the inbox of feedback, and the loop."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from patchline.engine.bank.store import GenerationStore
from patchline.engine.bank.usage_log import UsageLog
from patchline.engine.errors import BankFileError
from patchline.engine.inspection.drift import DriftReference
from patchline.engine.inspection.inspector import Inspector
from patchline.engine.learning.learner import Learner
from patchline.ops.settings.model import Settings
from patchline.ops.web.feedback_api import ApiBackend
from patchline.stream.decoding.decoder import Decoder
from patchline.stream.evidence.keeper import EvidenceKeeper
from patchline.stream.evidence.store import EvidenceStore
from patchline.stream.kafka.feedback import KafkaFeedback
from patchline.stream.learning.ageing import AgeingRecipe, RowAgeing
from patchline.stream.learning.drift import DriftWatch
from patchline.stream.learning.inbox import FeedbackInbox, LocalInbox
from patchline.stream.learning.loop import LearningLoop
from patchline.stream.learning.recipe import RecipeLearning
from patchline.stream.model.observer import Observer

DAY_S = 86_400.0


def learning_recipes(settings: Settings) -> list[str]:
    """The recipes that may learn."""
    return [name for name, recipe in settings.recipes.items() if recipe.learns]


def evidence_of(settings: Settings) -> EvidenceStore | None:
    """The evidence store; None where nothing is kept. Raises EvidenceError for a URL that cannot be understood."""
    evidence = settings.evidence
    if evidence.url is None:
        return None
    return EvidenceStore(evidence.url, keep_s=evidence.keep_days * DAY_S, keep_bytes=evidence.keep_bytes)


def keeper_of(settings: Settings, store: EvidenceStore, observer: Observer) -> EvidenceKeeper:
    """What writes to the evidence store."""
    evidence = settings.evidence
    return EvidenceKeeper(store, pass_share=evidence.pass_share, queue_bytes=evidence.queue_bytes, observer=observer)


async def drift_of(settings: Settings, engine: Inspector, observer: Observer) -> DriftWatch | None:
    """What watches for drift, read from the stores; None where it is off, or no bank has its calibration frames.

    A recipe whose calibration frames are damaged or away is not watched, and that is told: it is judged all the same.
    """
    drift = settings.drift
    references: dict[str, DriftReference] = {}
    for name, recipe in settings.recipes.items() if drift.every_s > 0 else ():
        try:
            reference = await asyncio.to_thread(_reference_of, GenerationStore(recipe.bank))
        except BankFileError as error:
            observer.damaged_file("calibration", name, f"{error}; the recipe's drift is not watched")
            continue
        if reference is not None:
            references[name] = reference
    if not references:
        return None
    return DriftWatch(
        engine,
        references,
        window=drift.window,
        every_s=drift.every_s,
        max_cameras=settings.limits.max_camera_labels,
        observer=observer,
    )


def _reference_of(store: GenerationStore) -> DriftReference | None:
    """What drift is measured against; None where the bank was fitted without keeping it. Raises BankFileError."""
    manifest = store.manifest(1)
    if not manifest.calibration:
        return None
    means = [store.patches(frame).mean(0, dtype=np.float64) for frame in manifest.calibration]
    return DriftReference(np.asarray(store.bank(1).calibration.scores, dtype=np.float64), np.stack(means))


def inbox_of(settings: Settings, observer: Observer) -> FeedbackInbox:
    """Where feedback comes from: Kafka, or this process alone where there is none."""
    kafka = settings.kafka_config()
    if kafka is None:
        return LocalInbox()
    return KafkaFeedback(
        kafka,
        max_frame_bytes=settings.limits.max_frame_bytes,
        observer=observer,
        keys=settings.feedback.to_config(),
    )


def backend_of(settings: Settings, loop: LearningLoop | None, evidence: EvidenceStore | None) -> ApiBackend:
    """What the HTTP routes speak to.

    Args:
        settings: name the recipes, their banks and the folders of good images.
        loop: takes feedback; None where no recipe learns.
        evidence: holds the frames; None where none are kept.
    """
    recipes = settings.recipes
    return ApiBackend(
        recipes=tuple(recipes),
        loop=loop,
        evidence=evidence,
        bank=lambda recipe, generation: GenerationStore(recipes[recipe].bank).bank(generation),
        good_images={name: recipe.good_images for name, recipe in recipes.items() if recipe.good_images is not None},
        max_frame_bytes=settings.limits.max_frame_bytes,
        max_pixels=settings.limits.max_pixels,
    )


def loop_of(
    settings: Settings,
    engine: Inspector,
    evidence: EvidenceStore | None,
    observer: Observer,
) -> LearningLoop | None:
    """The loop of learning; None where no recipe learns. It reads the stores.

    Raises:
        BankFileError: a store is truncated, altered or foreign.
        LearningError: a recipe's bank was fitted without what learning needs.
    """
    names = learning_recipes(settings)
    if not names:
        return None
    stores = {name: GenerationStore(settings.recipes[name].bank) for name in names}
    decoder = Decoder(engine.prepare, engine.recipes, replace(settings.limits.to_config(), decode_threads=1))

    def learning(name: str) -> RecipeLearning:
        follows = engine.recipes[name].recipe.stream_scores
        return RecipeLearning(name, Learner.open(stores[name]), engine, evidence, decoder, stream_scores=follows)

    active: Mapping[str, int] = {name: engine.recipes[name].generation for name in names}
    recipes = {name: learning(name) for name in names}
    ageing = {
        name: AgeingRecipe(recipes[name], UsageLog(settings.recipes[name].bank), days)
        for name in names
        if (days := engine.recipes[name].recipe.unused_days) is not None
    }
    return LearningLoop(
        inbox=inbox_of(settings, observer),
        recipes=recipes,
        engine=engine,
        stores=stores,
        active=active,
        ageing=RowAgeing(ageing, engine, observer) if ageing else None,
        observer=observer,
    )
