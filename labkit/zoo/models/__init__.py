"""Models, and what judges their results."""
