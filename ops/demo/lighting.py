"""Lighting that drifts: slow, smooth changes of gain, gamma and of the gradient across the field of view, and a lamp
that ages for good while the stream runs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchline.engine.types import Image

GAIN_SPAN = 0.10
GAMMA_SPAN = 0.08
GRADIENT_SPAN = 0.08
PERIODS_FRAMES = (60.0, 170.0, 420.0)
"""Clouds, a lamp warming up, the time of day; in frames of one camera."""


@dataclass(frozen=True, slots=True)
class Light:
    """The light of one frame: pixel' = gain * pixel ** gamma * (1 + gradient), in units of full scale.

    A warm light has more red, by the share `warmth`, and less blue.

    `gradient_rows` and `gradient_columns` are the relative change of brightness from the middle to the far edge.
    """

    gain: float = 1.0
    gamma: float = 1.0
    gradient_rows: float = 0.0
    gradient_columns: float = 0.0
    warmth: float = 0.0

    def shine_on(self, image: Image) -> NDArray[np.float32]:
        """The image under this light: float32 (H, W, 3) in 0 to 255, not yet rounded."""
        height, width = image.shape[:2]
        table = (255.0 * self.gain * (np.arange(256) / 255.0) ** self.gamma).astype(np.float32)
        rows = np.linspace(-self.gradient_rows, self.gradient_rows, height, dtype=np.float32)
        columns = np.linspace(-self.gradient_columns, self.gradient_columns, width, dtype=np.float32)
        slope = 1.0 + rows[:, None, None] + columns[None, :, None]
        colour = np.array([1.0 + self.warmth, 1.0, 1.0 - self.warmth], dtype=np.float32)
        return np.clip(table[image] * slope * colour, 0.0, 255.0).astype(np.float32)


AGED = Light(gain=-0.2, gamma=0.0, gradient_rows=0.25, gradient_columns=0.15, warmth=0.15)
"""What an aged lamp adds: it is darker, warmer, and shines from one side."""
AGES_FROM, AGES_UNTIL = 40, 70
"""While the lamp ages, in frames of one camera from the stream's begin."""


class Drift:
    """The light over time; the same seed gives the same light.

    Each quantity is a sum of three slow sine waves of drawn phase, so it never jumps and stays within its span.
    """

    def __init__(self, rng: np.random.Generator):
        spans = np.array([GAIN_SPAN, GAMMA_SPAN, GRADIENT_SPAN, GRADIENT_SPAN])
        shares = rng.dirichlet(np.full(len(PERIODS_FRAMES), 4.0), size=4)
        self._amplitudes = shares * spans[:, None]
        self._phases = rng.uniform(0.0, 2 * np.pi, size=self._amplitudes.shape)
        self._frequencies = 2 * np.pi / (np.array(PERIODS_FRAMES) * rng.uniform(0.8, 1.2, size=self._amplitudes.shape))

    def at(self, frame: float, ageing: float = 0.0) -> Light:
        """The light at a moment, counted in frames of this camera (negative: before the stream began).

        `ageing` multiplies what the ageing lamp adds; 0: it never ages.
        """
        waves = np.sin(self._frequencies * frame + self._phases)
        gain, gamma, rows, columns = (self._amplitudes * waves).sum(axis=1)
        share = ageing * min(aged(frame), 1.0)
        return Light(
            gain=1.0 + float(gain) + share * AGED.gain,
            gamma=1.0 + float(gamma) + share * AGED.gamma,
            gradient_rows=float(rows) + share * AGED.gradient_rows,
            gradient_columns=float(columns) + share * AGED.gradient_columns,
            warmth=share * AGED.warmth,
        )


def aged(frame: float) -> float:
    """How far the lamp has aged: 0 at first, 1 when it has, and growing as fast from then on, when the light stays."""
    return max(0.0, (frame - AGES_FROM) / (AGES_UNTIL - AGES_FROM))
