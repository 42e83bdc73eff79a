"""Heads: one exact joint distribution over several masked categorical choices."""
