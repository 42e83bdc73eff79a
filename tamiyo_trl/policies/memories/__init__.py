"""Memories: what the controller carries from step to step; a new one is a core and a kind."""
