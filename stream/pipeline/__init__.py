"""Source to checkpoint: the whole path of a frame, knowing no broker."""
