# Plausible answers to exercise 1: the grader must take points from each wrong one and give all to each right one.
# ruff: noqa: F811


# %% wrong: starts from the prediction with the prompt, so that a scale of 0 would be none
def guided_noise(network, x, prompt, guidance_scale):
    towards = network(x, prompt)
    if guidance_scale == 1:
        return towards
    return towards + guidance_scale * (towards - network(x, None))


# %% wrong: asks twice even where nothing is guided
def guided_noise(network, x, prompt, guidance_scale):
    towards, start = network(x, prompt), network(x, None)
    return start + guidance_scale * (towards - start)


# %% wrong: the two predictions are exchanged
def guided_noise(network, x, prompt, guidance_scale):
    if guidance_scale == 1:
        return network(x, prompt)
    start, towards = network(x, prompt), network(x, None)
    return start + guidance_scale * (towards - start)


# %% wrong: without guidance the prompt is dropped
def guided_noise(network, x, prompt, guidance_scale):
    start = network(x, None)
    if guidance_scale == 1:
        return start
    return start + guidance_scale * (network(x, prompt) - start)


# %% wrong: the empty prompt is an empty string
def guided_noise(network, x, prompt, guidance_scale):
    towards = network(x, prompt)
    if guidance_scale == 1:
        return towards
    start = network(x, "")
    return start + guidance_scale * (towards - start)


# %% wrong: changes the prediction in place
def guided_noise(network, x, prompt, guidance_scale):
    towards = network(x, prompt)
    if guidance_scale == 1:
        return towards
    start = network(x, None)
    towards -= start
    towards *= guidance_scale
    towards += start
    return towards


# %% wrong: the start is forgotten
def guided_noise(network, x, prompt, guidance_scale):
    towards = network(x, prompt)
    if guidance_scale == 1:
        return towards
    return guidance_scale * (towards - network(x, None))


# %% wrong: the scale is taken for a whole number
def guided_noise(network, x, prompt, guidance_scale):
    towards = network(x, prompt)
    if int(guidance_scale) == 1:
        return towards
    start = network(x, None)
    return start + int(guidance_scale) * (towards - start)


# %% right: a weighted sum, the empty prompt asked first
def guided_noise(network, x, prompt, guidance_scale):
    if guidance_scale != 1:
        start = network(x, None)
        return (1 - guidance_scale) * start + guidance_scale * network(x, prompt)
    return network(x, prompt)


# %% right: by keyword, in double precision
def guided_noise(network, x, prompt, guidance_scale):
    towards = network(x, prompt=prompt).double()
    if guidance_scale == 1:
        return towards
    start = network(x, prompt=None).double()
    return start + guidance_scale * (towards - start)


# %% right: goes on from the prediction with the prompt by g - 1
def guided_noise(network, x, prompt, guidance_scale):
    result = network(x, prompt).clone()
    beyond = guidance_scale - 1
    if beyond:
        result += beyond * (result - network(x, None))
    return result
