# Answers to the exercise int8_per_channel: mistakes that must lose points, and right answers that must not.
# ruff: noqa: F811
import torch

# %% wrong: one scale for the whole weight


def int8_per_channel(weight, symmetric):
    low, high = weight.min().clamp(max=0), weight.max().clamp(min=0)
    scale = weight.abs().max() / 127 if symmetric else (high - low) / 255
    zero = torch.zeros(()) if symmetric else (-128 - low / scale).round()
    codes = ((weight / scale).round() + zero).clamp(-128, 127)
    restored = scale * (codes - zero)
    out = len(weight)
    return codes.to(torch.int8), scale.expand(out), zero.expand(out).long(), restored


# %% wrong: a scale for each input instead of each output


def int8_per_channel(weight, symmetric):
    rows = weight.transpose(0, 1).flatten(1)
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    scale = rows.abs().amax(1) / 127 if symmetric else (high - low) / 255
    scale = torch.where(scale == 0, 1.0, scale)
    zero = torch.zeros_like(scale) if symmetric else (-128 - low / scale).round()
    shape = (1, -1) + (1,) * (weight.dim() - 2)
    step, shift = scale.view(shape), zero.view(shape)
    codes = ((weight / step).round() + shift).clamp(-128, 127)
    return codes.to(torch.int8), scale, zero.long(), step * (codes - shift)


# %% wrong: a scale for each row of a kernel, not for the channel


def int8_per_channel(weight, symmetric):
    low, high = weight.amin(-1, True).clamp(max=0), weight.amax(-1, True).clamp(min=0)
    step = weight.abs().amax(-1, True) / 127 if symmetric else (high - low) / 255
    step = torch.where(step == 0, 1.0, step)
    shift = torch.zeros_like(step) if symmetric else (-128 - low / step).round()
    codes = ((weight / step).round() + shift).clamp(-128, 127)
    restored = step * (codes - shift)
    return codes.to(torch.int8), step.squeeze(-1), shift.squeeze(-1).long(), restored


# %% wrong: cut off instead of rounded


def int8_per_channel(weight, symmetric):
    rows = weight.flatten(1)
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    scale = rows.abs().amax(1) / 127 if symmetric else (high - low) / 255
    scale = torch.where(scale == 0, 1.0, scale)
    zero = torch.zeros_like(scale) if symmetric else (-128 - low / scale).round()
    step, shift = scale[:, None], zero[:, None]
    codes = ((rows / step).trunc() + shift).clamp(-128, 127)
    restored = (step * (codes - shift)).view(weight.shape)
    return codes.to(torch.int8).view(weight.shape), scale, zero.long(), restored


# %% wrong: 128 steps, of which the last wraps around to -128


def int8_per_channel(weight, symmetric):
    rows = weight.flatten(1)
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    scale = rows.abs().amax(1) / 128 if symmetric else (high - low) / 256
    scale = torch.where(scale == 0, 1.0, scale)
    zero = torch.zeros_like(scale) if symmetric else (-128 - low / scale).round()
    step, shift = scale[:, None], zero[:, None]
    codes = ((rows / step).round() + shift).to(torch.int8)
    restored = (step * (codes - shift)).view(weight.shape)
    return codes.view(weight.shape), scale, zero.long(), restored


# %% wrong: the affine range does not have to contain zero


def int8_per_channel(weight, symmetric):
    rows = weight.flatten(1)
    low, high = rows.amin(1), rows.amax(1)
    scale = rows.abs().amax(1) / 127 if symmetric else (high - low) / 255
    scale = torch.where(scale == 0, 1.0, scale)
    zero = torch.zeros_like(scale) if symmetric else (-128 - low / scale).round()
    step, shift = scale[:, None], zero[:, None]
    codes = ((rows / step).round() + shift).clamp(-128, 127)
    restored = (step * (codes - shift)).view(weight.shape)
    return codes.to(torch.int8).view(weight.shape), scale, zero.long(), restored


# %% wrong: a channel of zeros is divided by a scale of zero


def int8_per_channel(weight, symmetric):
    rows = weight.flatten(1)
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    scale = rows.abs().amax(1) / 127 if symmetric else (high - low) / 255
    zero = torch.zeros_like(scale) if symmetric else (-128 - low / scale).round()
    step, shift = scale[:, None], zero[:, None]
    codes = ((rows / step).round() + shift).clamp(-128, 127)
    restored = (step * (codes - shift)).view(weight.shape)
    return codes.to(torch.int8).view(weight.shape), scale, zero.long(), restored


# %% wrong: restored without the scale


def int8_per_channel(weight, symmetric):
    rows = weight.flatten(1)
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    scale = rows.abs().amax(1) / 127 if symmetric else (high - low) / 255
    scale = torch.where(scale == 0, 1.0, scale)
    zero = torch.zeros_like(scale) if symmetric else (-128 - low / scale).round()
    codes = ((rows / scale[:, None]).round() + zero[:, None]).clamp(-128, 127)
    restored = (codes - zero[:, None]).view(weight.shape)
    return codes.to(torch.int8).view(weight.shape), scale, zero.long(), restored


# %% wrong: codes and zero points are subtracted in int8 and wrap around


def int8_per_channel(weight, symmetric):
    rows = weight.flatten(1)
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    scale = rows.abs().amax(1) / 127 if symmetric else (high - low) / 255
    scale = torch.where(scale == 0, 1.0, scale)
    zero = torch.zeros_like(scale) if symmetric else (-128 - low / scale).round()
    codes = ((rows / scale[:, None]).round() + zero[:, None]).clamp(-128, 127)
    codes, zero = codes.to(torch.int8), zero.to(torch.int8)
    restored = (scale[:, None] * (codes - zero[:, None])).view(weight.shape)
    return codes.view(weight.shape), scale, zero, restored


# %% wrong: the weight itself is divided


def int8_per_channel(weight, symmetric):
    rows = weight.view(len(weight), -1)
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    scale = rows.abs().amax(1) / 127 if symmetric else (high - low) / 255
    scale = torch.where(scale == 0, 1.0, scale)
    zero = torch.zeros_like(scale) if symmetric else (-128 - low / scale).round()
    step, shift = scale[:, None], zero[:, None]
    codes = (rows.div_(step).round() + shift).clamp(-128, 127)
    restored = (step * (codes - shift)).view(weight.shape)
    return codes.to(torch.int8).view(weight.shape), scale, zero.long(), restored


# %% wrong: always symmetric


def int8_per_channel(weight, symmetric):
    rows = weight.flatten(1)
    scale = rows.abs().amax(1) / 127
    scale = torch.where(scale == 0, 1.0, scale)
    codes = (rows / scale[:, None]).round()
    restored = (codes * scale[:, None]).view(weight.shape)
    zero = torch.zeros(len(rows), dtype=torch.long)
    return codes.to(torch.int8).view(weight.shape), scale, zero, restored


# %% wrong: the zero point is cut off to an integer after it was used as a fraction


def int8_per_channel(weight, symmetric):
    rows = weight.flatten(1)
    low, high = rows.amin(1).clamp(max=0), rows.amax(1).clamp(min=0)
    scale = rows.abs().amax(1) / 127 if symmetric else (high - low) / 255
    scale = torch.where(scale == 0, 1.0, scale)
    zero = torch.zeros_like(scale) if symmetric else -128 - low / scale
    step, shift = scale[:, None], zero[:, None]
    codes = (rows / step + shift).round().clamp(-128, 127)
    restored = (step * (codes - shift)).view(weight.shape)
    return codes.to(torch.int8).view(weight.shape), scale, zero.long(), restored


# %% right: channel by channel in NumPy and float64, a half always up, zero points in int8

import numpy


def int8_per_channel(weight, symmetric):
    codes, scales, zeros, restored = [], [], [], []
    for channel in weight.numpy().astype(numpy.float64):
        low, high = min(0.0, channel.min()), max(0.0, channel.max())
        scale = max(-low, high) / 127 if symmetric else (high - low) / 255
        scale = scale or 1.0
        zero = 0 if symmetric else int(numpy.floor(-128 - low / scale + 0.5))
        q = numpy.clip(numpy.floor(channel / scale + 0.5) + zero, -128, 127)
        codes.append(q.astype(numpy.int8))
        scales.append(scale)
        zeros.append(zero)
        restored.append(scale * (q - zero))
    return (
        torch.from_numpy(numpy.stack(codes)),
        torch.tensor(scales, dtype=torch.float32),
        torch.tensor(zeros, dtype=torch.int8),
        torch.from_numpy(numpy.stack(restored)).float(),
    )
