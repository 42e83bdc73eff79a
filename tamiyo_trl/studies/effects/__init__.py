"""The map of effects: what every seed is worth under every deficit."""
