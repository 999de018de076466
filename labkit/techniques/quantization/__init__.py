"""Quantization: fewer bits per weight."""
