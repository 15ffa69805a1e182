"""Numbers and processors: devices, cores, matrix products, integers with exact distances."""
