"""Measures: one success metric or explanation a file."""
