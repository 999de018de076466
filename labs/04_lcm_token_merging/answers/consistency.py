# Plausible answers to exercise 2: the grader must take points from each wrong one and give all to each right one.
# ruff: noqa: F811
import torch


# %% wrong: the factors meet the width and not the pictures
def consistency(x, picture, time, sigma_data=0.5, time_scale=10.0):
    scaled = time_scale * time
    total = scaled**2 + sigma_data**2
    return sigma_data**2 / total * x + scaled / total**0.5 * picture


# %% wrong: the time of the first picture for all
def consistency(x, picture, time, sigma_data=0.5, time_scale=10.0):
    scaled = time_scale * time[0]
    total = scaled**2 + sigma_data**2
    return sigma_data**2 / total * x + scaled / total**0.5 * picture


# %% wrong: the time is not scaled
def consistency(x, picture, time, sigma_data=0.5, time_scale=10.0):
    time = time.view(-1, 1, 1, 1)
    total = time**2 + sigma_data**2
    return sigma_data**2 / total * x + time / total**0.5 * picture


# %% wrong: the time is divided by its scale
def consistency(x, picture, time, sigma_data=0.5, time_scale=10.0):
    scaled = (time / time_scale).view(-1, 1, 1, 1)
    total = scaled**2 + sigma_data**2
    return sigma_data**2 / total * x + scaled / total**0.5 * picture


# %% wrong: sigma is not squared
def consistency(x, picture, time, sigma_data=0.5, time_scale=10.0):
    scaled = (time_scale * time).view(-1, 1, 1, 1)
    total = scaled**2 + sigma_data
    return sigma_data / total * x + scaled / total**0.5 * picture


# %% wrong: no root below the picture's factor
def consistency(x, picture, time, sigma_data=0.5, time_scale=10.0):
    scaled = (time_scale * time).view(-1, 1, 1, 1)
    total = scaled**2 + sigma_data**2
    return sigma_data**2 / total * x + scaled / total * picture


# %% wrong: the factors are made to add up to one
def consistency(x, picture, time, sigma_data=0.5, time_scale=10.0):
    scaled = (time_scale * time).view(-1, 1, 1, 1)
    skip = sigma_data**2 / (scaled**2 + sigma_data**2)
    return skip * x + (1 - skip) * picture


# %% wrong: x and the picture are exchanged
def consistency(x, picture, time, sigma_data=0.5, time_scale=10.0):
    scaled = (time_scale * time).view(-1, 1, 1, 1)
    total = scaled**2 + sigma_data**2
    return sigma_data**2 / total * picture + scaled / total**0.5 * x


# %% wrong: sigma is fixed to that of the lab
def consistency(x, picture, time, sigma_data=0.5, time_scale=10.0):
    scaled = (time_scale * time).view(-1, 1, 1, 1)
    total = scaled**2 + 0.25
    return 0.25 / total * x + scaled / total**0.5 * picture


# %% wrong: x is changed in place
def consistency(x, picture, time, sigma_data=0.5, time_scale=10.0):
    scaled = (time_scale * time).view(-1, 1, 1, 1)
    total = scaled**2 + sigma_data**2
    x *= sigma_data**2 / total
    x += scaled / total**0.5 * picture
    return x


# %% wrong: a constant: x as it came
def consistency(x, picture, time, sigma_data=0.5, time_scale=10.0):
    return x


# %% right: the second factor by way of the first, since their relation is known
def consistency(x, picture, time, sigma_data=0.5, time_scale=10.0):
    skip = 1 / (1 + (time[:, None, None, None] * time_scale / sigma_data) ** 2)
    return skip * x + (1 - skip).sqrt() * picture


# %% right: picture by picture, the factors in double precision
def consistency(x, picture, time, sigma_data=0.5, time_scale=10.0):
    ends = []
    for noisy, seen, t in zip(x.double(), picture.double(), time.tolist()):
        scaled = time_scale * t
        total = scaled**2 + sigma_data**2
        ends.append(noisy * sigma_data**2 / total + seen * scaled / total**0.5)
    return torch.stack(ends)
