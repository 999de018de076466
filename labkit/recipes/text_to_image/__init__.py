"""The text-to-image model that ships: `python -m labkit.recipes.text_to_image`, whose stages are told in `train`.

train      the stages, and the command
loop       the training loop that they share
diffusion  noise, velocity, guidance and consistency, as their losses need them
networks   the architectures
score      what the judge says of pictures
"""
