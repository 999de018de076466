"""Language modelling: SmolLM2 on the language reference of Python as a task, and its steps."""

from labkit.stack.language_model.steps import cut, lora, prune, quantize
from labkit.stack.language_model.study import STUDY
from labkit.stack.language_model.task import LanguageModelling, linear_layers

__all__ = ["STUDY", "LanguageModelling", "cut", "linear_layers", "lora", "prune", "quantize"]
