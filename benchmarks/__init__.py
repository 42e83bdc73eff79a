"""Speed measurements; not installed with the package."""
