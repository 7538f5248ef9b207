"""From recordings to batches: collections, sources, the loader."""
