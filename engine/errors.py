"""Everything that can go wrong in Patchline, as types.

::

    PatchlineError
    └── EngineError
        ├── ImageError          pixels that are not an RGB uint8 image
        ├── RecipeError         a recipe that contradicts itself or the backbone
        ├── WeightsError        weights that are missing, altered or do not fit the backbone
        ├── CalibrationError    a false-reject rate that the good frames at hand cannot promise
        ├── PrecisionError      a precision in which verdicts do not hold
        ├── BankFileError       a bank file that is truncated, altered, foreign or already there
        │   ├── GenerationConflictError   a generation that another writer has created first
        │   └── BankFileMissingError      a file that a manifest names and that is not there
        ├── LearningError       a request to learn, unlearn or roll back that cannot be met
        ├── DeviceError         a device that this machine does not have
        └── EvaluationError     a figure that the frames at hand cannot give
"""


class PatchlineError(Exception):
    """Root of every error that Patchline raises on purpose. Its text is written for the user."""


class EngineError(PatchlineError):
    """Root of the engine's errors."""


class ImageError(EngineError):
    """Pixels that are not an RGB uint8 image of shape (H, W, 3)."""


class RecipeError(EngineError):
    """A recipe that contradicts itself, or names what the backbone does not have."""


class WeightsError(EngineError):
    """Weights that are missing, altered, or do not fit the backbone."""


class CalibrationError(EngineError):
    """A false-reject rate that the good frames at hand cannot promise."""


class PrecisionError(EngineError):
    """A precision below float32 in which the verdicts of held-out good frames do not hold."""


class BankFileError(EngineError):
    """A bank file that is missing, truncated, altered, foreign, or that exists where a new one was to be created."""


class GenerationConflictError(BankFileError):
    """Another writer has created the generation first: what was proposed must be proposed anew."""


class BankFileMissingError(BankFileError):
    """A file that a manifest names is not there: it is lost, or another writer has removed it meanwhile."""


class LearningError(EngineError):
    """A request to learn, unlearn or roll back that cannot be met, whoever asks how often."""


class DeviceError(EngineError):
    """A device that this machine does not have."""


class EvaluationError(EngineError):
    """A figure of an evaluation that the frames at hand cannot give, or scores and masks that do not fit together."""


SHOWN_CHARACTERS = 80


def shown(value: object) -> str:
    """What was found, as an error shows it: on one line and no longer than 80 characters, whatever it is."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of more digits than Python writes out
        text = f"a {type(value).__name__} that cannot be written out"
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"
