"""Where a run happens: devices, the world of processes, how they talk and how they start. Knows nothing of training."""
