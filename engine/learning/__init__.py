"""From a confirmed frame to the next generation: proposals, previews, reference frames, replay."""
