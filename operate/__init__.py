"""A rehearsal of operations: the whole pipeline, watched, broken and repaired."""
