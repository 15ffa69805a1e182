"""The mathematics of Patchline: PatchCore inspection with a memory bank. Synchronous and deterministic."""
