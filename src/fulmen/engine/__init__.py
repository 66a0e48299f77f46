"""One run, from first batch to last. Knows base classes only, no concrete callback, logger or strategy."""
