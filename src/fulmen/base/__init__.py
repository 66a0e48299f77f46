"""Ground floor: helpers that know nothing of training."""
