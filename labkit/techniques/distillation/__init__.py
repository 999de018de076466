"""Distillation: learn from another network's predictions."""
