"""Evidence of frames, and stores of it."""

import hashlib
from datetime import UTC, datetime

import cv2
import numpy as np

from patchline.engine.types import Image, Verdict
from patchline.stream.evidence.store import Evidence, EvidenceStore
from patchline.stream.model.result import GenerationRef, Result

DAY_S = 86_400.0


def evidence(frame_id: str, image: bytes, verdict: Verdict = Verdict.REJECT) -> Evidence:
    now = datetime.now(UTC)
    result = Result(
        frame_id=frame_id,
        camera="cam-1",
        recipe="plate",
        time=now,
        inspected_at=now,
        verdict=verdict,
        latency_ms=1.0,
        score=120.0,
        threshold=100.0,
        score_ratio=1.2,
        p_value=0.01,
        generation=GenerationRef(number=1, sha256="5" * 64),
    )
    return Evidence(
        result=result,
        content_type="image/jpeg",
        sha256=hashlib.sha256(image).hexdigest(),
        grid=(4, 6),
        worst_patch=(1, 2),
        nearest_row=3,
    )


def store_at(url: str, keep_s: float = DAY_S, keep_bytes: int = 10**9) -> EvidenceStore:
    return EvidenceStore(url, keep_s=keep_s, keep_bytes=keep_bytes)


def decoded(png: bytes | None) -> Image:
    """The pixels of a PNG: grey (H, W), or RGB (H, W, 3)."""
    assert png is not None
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return np.asarray(image[..., ::-1] if image.ndim == 3 else image, np.uint8)
