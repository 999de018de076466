# Answers to the exercise reestimate_batchnorm: mistakes that must lose points, and right answers that must not.
# ruff: noqa: F811
import copy

import torch
from torch import nn

# %% wrong: the model itself is changed


def reestimate_batchnorm(model, batches):
    modes = [(m, m.training) for m in model.modules()]
    norms = [m for m, _ in modes if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    batches = list(batches)
    if not batches:
        raise ValueError("no batches")
    for x in batches:
        model(x)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training
    return model


# %% wrong: the momentum stays: a decaying average, in which the last batch counts most


def reestimate_batchnorm(model, batches):
    model = copy.deepcopy(model)
    modes = [(m, m.training) for m in model.modules()]
    norms = [m for m, _ in modes if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    batches = list(batches)
    if not batches:
        raise ValueError("no batches")
    for x in batches:
        model(x)
    for module, training in modes:
        module.training = training
    return model


# %% wrong: the old statistics count: nothing was reset


def reestimate_batchnorm(model, batches):
    model = copy.deepcopy(model)
    modes = [(m, m.training) for m in model.modules()]
    norms = [m for m, _ in modes if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.momentum = None
        norm.train()
    batches = list(batches)
    if not batches:
        raise ValueError("no batches")
    for x in batches:
        model(x)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training
    return model


# %% wrong: the whole model is in train mode, dropout, too


def reestimate_batchnorm(model, batches):
    model = copy.deepcopy(model)
    modes = [(m, m.training) for m in model.modules()]
    norms = [m for m, _ in modes if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.train()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    batches = list(batches)
    if not batches:
        raise ValueError("no batches")
    for x in batches:
        model(x)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training
    return model


# %% wrong: the copy is left in eval mode


def reestimate_batchnorm(model, batches):
    model = copy.deepcopy(model).eval()
    norms = [
        m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    batches = list(batches)
    if not batches:
        raise ValueError("no batches")
    for x in batches:
        model(x)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    return model.eval()


# %% wrong: all modules get the mode of the outermost one


def reestimate_batchnorm(model, batches):
    training = model.training
    model = copy.deepcopy(model).eval()
    norms = [
        m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    batches = list(batches)
    if not batches:
        raise ValueError("no batches")
    for x in batches:
        model(x)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    return model.train(training)


# %% wrong: the momentum is not put back


def reestimate_batchnorm(model, batches):
    model = copy.deepcopy(model)
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    for norm, _ in modes:
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
    batches = list(batches)
    if not batches:
        raise ValueError("no batches")
    for x in batches:
        model(x)
    for module, training in modes:
        module.training = training
    return model


# %% wrong: one large batch: large batches count more, and the variance is that of all together


def reestimate_batchnorm(model, batches):
    model = copy.deepcopy(model)
    modes = [(m, m.training) for m in model.modules()]
    norms = [m for m, _ in modes if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    batches = list(batches)
    if not batches:
        raise ValueError("no batches")
    model(torch.cat(batches))
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training
    return model


# %% wrong: only BatchNorm2d, not 1d and 3d


def reestimate_batchnorm(model, batches):
    model = copy.deepcopy(model)
    modes = [(m, m.training) for m in model.modules()]
    norms = [m for m, _ in modes if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    batches = list(batches)
    if not batches:
        raise ValueError("no batches")
    for x in batches:
        model(x)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training
    return model


# %% wrong: the batches are counted first, and a generator is empty after that


def reestimate_batchnorm(model, batches):
    if not list(batches):
        raise ValueError("no batches")
    model = copy.deepcopy(model)
    modes = [(m, m.training) for m in model.modules()]
    norms = [m for m, _ in modes if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for x in batches:
        model(x)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training
    return model


# %% wrong: no batches give statistics of nothing, without an error


def reestimate_batchnorm(model, batches):
    model = copy.deepcopy(model)
    modes = [(m, m.training) for m in model.modules()]
    norms = [m for m, _ in modes if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for x in batches:
        model(x)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training
    return model


# %% wrong: the variance with n below instead of n - 1


def reestimate_batchnorm(model, batches):
    new = copy.deepcopy(model)
    found = {}

    def look(norm, inputs):
        x = inputs[0].transpose(0, 1).flatten(1)
        found.setdefault(norm, []).append((x.mean(1), x.var(1, unbiased=False)))

    probe = copy.deepcopy(model).eval()
    pairs = []
    for old, m in zip(new.modules(), probe.modules()):
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.train()
            m.register_forward_pre_hook(look)
            pairs.append((old, m))
    with torch.no_grad():
        for x in batches:
            probe(x)
        if not found:
            raise ValueError("no batches")
        for old, m in pairs:
            old.running_mean.copy_(sum(mean for mean, _ in found[m]) / len(found[m]))
            old.running_var.copy_(sum(var for _, var in found[m]) / len(found[m]))
    return new


# %% wrong: later layers see what the old statistics made of the earlier ones


def reestimate_batchnorm(model, batches):
    new = copy.deepcopy(model)
    found = {}

    def look(norm, inputs):
        x = inputs[0].transpose(0, 1).flatten(1)
        found.setdefault(norm, []).append((x.mean(1), x.var(1)))

    probe = copy.deepcopy(model).eval()
    pairs = []
    for old, m in zip(new.modules(), probe.modules()):
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.register_forward_pre_hook(look)
            pairs.append((old, m))
    with torch.no_grad():
        for x in batches:
            probe(x)
        if not found:
            raise ValueError("no batches")
        for old, m in pairs:
            old.running_mean.copy_(sum(mean for mean, _ in found[m]) / len(found[m]))
            old.running_var.copy_(sum(var for _, var in found[m]) / len(found[m]))
    return new


# %% right: what enters each BatchNorm is looked at, and averaged by hand


def reestimate_batchnorm(model, batches):
    new = copy.deepcopy(model)
    found = {}

    def look(norm, inputs):
        x = inputs[0].transpose(0, 1).flatten(1).double()
        found.setdefault(norm, []).append((x.mean(1), x.var(1)))

    probe = copy.deepcopy(model).eval()
    pairs = []
    for old, m in zip(new.modules(), probe.modules()):
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            m.train()
            m.register_forward_pre_hook(look)
            pairs.append((old, m))
    with torch.no_grad():
        for x in batches:
            probe(x)
        if not found:
            raise ValueError("no batches")
        for old, m in pairs:
            old.running_mean.copy_(sum(mean for mean, _ in found[m]) / len(found[m]))
            old.running_var.copy_(sum(var for _, var in found[m]) / len(found[m]))
    return new


# %% right: a momentum of 1 over the number of the batch, and the statistics carried over


def reestimate_batchnorm(model, batches):
    worker = copy.deepcopy(model).requires_grad_(False).eval()
    norms = [
        m for m in worker.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    number = 0
    for number, x in enumerate(batches, start=1):
        for norm in norms:
            norm.train().momentum = 1 / number
        worker(x)
    if number == 0:
        raise ValueError("no batches")
    result = copy.deepcopy(model)
    state = {k: v for k, v in worker.state_dict().items() if "running" in k}
    result.load_state_dict(state, strict=False)
    return result
