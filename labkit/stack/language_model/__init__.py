from labkit.stack.language_model.steps import *  # noqa: F403
