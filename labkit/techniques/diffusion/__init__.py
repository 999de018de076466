"""Diffusion: fewer steps, and fewer tokens in each."""
