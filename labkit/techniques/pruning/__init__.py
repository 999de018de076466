"""Pruning: which weights go, and how a network recovers."""
