"""What the framework costs: against a bare loop and against its peers, side by side in one run."""
