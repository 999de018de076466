"""Distillation: learn from another network's answers."""
