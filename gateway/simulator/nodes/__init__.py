"""What the simulated node classes do."""
