"""How much a world asks of memory, measured without reinforcement learning."""
