"""One run, from its first batch to its last. Knows base classes only, never a concrete callback, logger or strategy."""
