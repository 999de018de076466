"""Adapters: train little beside weights that stay."""
