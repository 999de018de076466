from labkit.stack.image_classifier.steps import *  # noqa: F403
