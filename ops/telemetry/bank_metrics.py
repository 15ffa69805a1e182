"""Metrics of memory banks: scores, generations, feedback, evidence, and drift."""

from collections.abc import Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from patchline.engine.bank.memory_bank import MemoryBank
from patchline.engine.inspection.drift import Drift
from patchline.engine.types import Image, Inspection
from patchline.ops.telemetry.camera_labels import OTHER, CameraLabels
from patchline.stream.model.feedback import FeedbackReply
from patchline.stream.model.frame import Frame
from patchline.stream.model.observer import Observer, StoredKind
from patchline.stream.model.result import Result

SCORE_BUCKETS = tuple(float(f"{0.1 * 1.25**step:.3g}") for step in range(37))
"""Anomaly scores are distances in an embedding space: their scale depends on the backbone, so buckets are geometric."""


class BankMetrics(Observer):
    """What judges, and how it changes.

    Args:
        registry: where the metrics are registered.
        cameras: which cameras are told apart.
    """

    def __init__(self, registry: CollectorRegistry, cameras: CameraLabels) -> None:
        at, recipe, on, self._label = registry, ["recipe"], ["camera", "recipe"], cameras.of
        self._recipes: set[str] = set()
        self._score = Histogram(
            "patchline_anomaly_score", "Anomaly scores of frames (L2)", recipe, buckets=SCORE_BUCKETS, registry=at
        )
        self._rows = Gauge("patchline_bank_rows", "Rows of the memory bank", recipe, registry=at)
        self._generation = Gauge("patchline_bank_generation", "Generation that judges", recipe, registry=at)
        self._radius = Gauge("patchline_bank_covering_radius", "Covering radius of the bank (L2)", recipe, registry=at)
        self._threshold = Gauge(
            "patchline_bank_threshold", "Score above which a frame is rejected", recipe, registry=at
        )
        self._generations = Counter(
            "patchline_generations_taken", "Generations that this worker came to judge with", recipe, registry=at
        )
        self._generations_refused = Counter(
            "patchline_generations_refused",
            "Stored generations that are damaged, foreign or not those announced; the former ones judge on",
            recipe,
            registry=at,
        )
        self._damaged = Counter(
            "patchline_damaged_files",
            "Stored files that are damaged or foreign and were passed over, by what they were to hold",
            ["what"],
            registry=at,
        )
        for what in get_args(StoredKind):
            self._damaged.labels(what)
        self._feedback = Counter(
            "patchline_feedback", "Feedback answered, by outcome", ["recipe", "outcome"], registry=at
        )
        self._evidence = Counter(
            "patchline_evidence_frames",
            "Frames for the evidence store, by outcome",
            ["outcome"],
            registry=at,
        )
        self._drift_p = Gauge(
            "patchline_drift_score_p",
            "One-sided Kolmogorov-Smirnov p: whether scores of a camera are higher than calibration's",
            on,
            registry=at,
        )
        self._drift_embedding = Gauge(
            "patchline_drift_embedding_ratio",
            "Distance of a camera's mean embedding from calibration, over its limit: above 1 the picture has changed",
            on,
            registry=at,
        )

    def judged(
        self,
        frame: Frame,
        prepared: Image | None,  # noqa: ARG002 - metrics do not look at pixels
        inspection: Inspection | None,
        result: Result,  # noqa: ARG002 - counted once it is delivered
    ) -> None:
        """See `Observer`. The recipe is one of the loaded ones wherever there is an inspection."""
        if inspection is not None:
            self._score.labels(frame.recipe).observe(inspection.score)

    def evidence(self, recipe: str, outcome: str) -> None:  # noqa: ARG002 - one store for all recipes
        """See `Observer`."""
        self._evidence.labels(outcome).inc()

    def drift(self, camera: str, recipe: str, drift: Drift) -> None:
        """See `Observer`."""
        if (name := self._label(camera)) != OTHER:
            self._drift_p.labels(name, recipe).set(drift.score_p)
            self._drift_embedding.labels(name, recipe).set(drift.embedding_distance / drift.embedding_limit)

    def feedback(self, reply: FeedbackReply) -> None:
        """See `Observer`. Feedback may ask for any recipe; those that are not here are counted together."""
        recipe = reply.recipe if reply.recipe in self._recipes else OTHER
        self._feedback.labels(recipe, reply.outcome.value).inc()

    def generation(self, recipe: str, bank: MemoryBank) -> None:
        """See `Observer`."""
        self._generations.labels(recipe).inc()
        self.banks({recipe: bank})

    def generation_refused(self, recipe: str, number: int, error: Exception) -> None:  # noqa: ARG002 - the log has them
        """See `Observer`."""
        self._generations_refused.labels(recipe).inc()

    def damaged_file(self, what: StoredKind, where: str, why: str) -> None:  # noqa: ARG002 - the log has the rest
        """See `Observer`."""
        self._damaged.labels(what).inc()

    def banks(self, banks: Mapping[str, MemoryBank]) -> None:
        """The banks that judge from now on, by recipe."""
        self._recipes.update(banks)
        for recipe, bank in banks.items():
            self._rows.labels(recipe).set(len(bank.rows))
            self._generation.labels(recipe).set(bank.generation)
            self._radius.labels(recipe).set(bank.covering_radius)
            self._threshold.labels(recipe).set(bank.threshold)
            self._generations_refused.labels(recipe)
