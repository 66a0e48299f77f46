"""Where a run happens: devices, processes, how they talk and how they start. Knows nothing of training."""
