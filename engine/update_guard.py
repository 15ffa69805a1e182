"""The guard: an update that would hide a known defect waits for a second person, with the reason."""

from engine.learning_preview import Preview


def reason_to_hold(preview: Preview) -> str | None:
    """Why an update should wait for a second person, or None."""
    return preview.hold
