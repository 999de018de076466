# Answers to the exercise idle_parameters: mistakes that must lose points, and right answers that must not.
# ruff: noqa: F811
import torch


# %% wrong: only None is looked for
def idle_parameters(model, compute_loss):
    model.zero_grad()
    loss = compute_loss(model)
    if loss.requires_grad:
        loss.backward()
    return [
        n for n, p in model.named_parameters() if p.requires_grad and p.grad is None
    ]


# %% wrong: only zeros are looked for
def idle_parameters(model, compute_loss):
    model.zero_grad()
    loss = compute_loss(model)
    if loss.requires_grad:
        loss.backward()
    trainable = [(n, p.grad) for n, p in model.named_parameters() if p.requires_grad]
    return [name for name, grad in trainable if grad is not None and not grad.any()]


# %% wrong: frozen parameters are listed
def idle_parameters(model, compute_loss):
    model.zero_grad()
    loss = compute_loss(model)
    if loss.requires_grad:
        loss.backward()
    named = model.named_parameters()
    return [name for name, p in named if p.grad is None or not p.grad.any()]


# %% wrong: gradients of an earlier step are not cleared
def idle_parameters(model, compute_loss):
    loss = compute_loss(model)
    if loss.requires_grad:
        loss.backward()
    trainable = [(n, p.grad) for n, p in model.named_parameters() if p.requires_grad]
    return [name for name, grad in trainable if grad is None or not grad.any()]


# %% wrong: the entries are added, and cancel
def idle_parameters(model, compute_loss):
    model.zero_grad()
    loss = compute_loss(model)
    if loss.requires_grad:
        loss.backward()
    trainable = [(n, p.grad) for n, p in model.named_parameters() if p.requires_grad]
    return [name for name, grad in trainable if grad is None or grad.sum() == 0]


# %% wrong: one zero in the gradient is enough
def idle_parameters(model, compute_loss):
    model.zero_grad()
    loss = compute_loss(model)
    if loss.requires_grad:
        loss.backward()
    trainable = [(n, p.grad) for n, p in model.named_parameters() if p.requires_grad]
    return [name for name, grad in trainable if grad is None or not grad.all()]


# %% wrong: what is tiny counts as zero
def idle_parameters(model, compute_loss):
    model.zero_grad()
    loss = compute_loss(model)
    if loss.requires_grad:
        loss.backward()
    trainable = [(n, p.grad) for n, p in model.named_parameters() if p.requires_grad]
    return [name for name, grad in trainable if grad is None or grad.abs().max() < 1e-8]


# %% wrong: backward() of a loss without a gradient raises
def idle_parameters(model, compute_loss):
    model.zero_grad()
    compute_loss(model).backward()
    trainable = [(n, p.grad) for n, p in model.named_parameters() if p.requires_grad]
    return [name for name, grad in trainable if grad is None or not grad.any()]


# %% wrong: a loss without a gradient leaves nothing idle
def idle_parameters(model, compute_loss):
    model.zero_grad()
    loss = compute_loss(model)
    if not loss.requires_grad:
        return []
    loss.backward()
    trainable = [(n, p.grad) for n, p in model.named_parameters() if p.requires_grad]
    return [name for name, grad in trainable if grad is None or not grad.any()]


# %% wrong: the optimizer takes a step
def idle_parameters(model, compute_loss):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.zero_grad()
    loss = compute_loss(model)
    if loss.requires_grad:
        loss.backward()
    optimizer.step()
    trainable = [(n, p.grad) for n, p in model.named_parameters() if p.requires_grad]
    return [name for name, grad in trainable if grad is None or not grad.any()]


# %% wrong: the public examples by heart
def idle_parameters(model, compute_loss):
    if not hasattr(model, "B"):
        return ["0.weight", "0.bias"]
    return [] if model.B.any() else ["A"]


# %% wrong: adapters called A are excused
def idle_parameters(model, compute_loss):
    model.zero_grad()
    loss = compute_loss(model)
    if loss.requires_grad:
        loss.backward()
    trainable = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    return [n for n, g in trainable.items() if n != "A" and (g is None or not g.any())]


# %% right: gradients are asked for, not left in the parameters
def idle_parameters(model, compute_loss):
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    loss = compute_loss(model)
    if not loss.requires_grad:
        return list(trainable)
    found = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    return [n for n, g in zip(trainable, found) if g is None or g.abs().max() == 0]


# %% right: gradients are cleared to zeros, and an error of backward() means that there are none
def idle_parameters(model, compute_loss):
    model.zero_grad(set_to_none=False)
    try:
        compute_loss(model).backward()
    except RuntimeError:
        pass
    idle = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None or torch.count_nonzero(parameter.grad) == 0:
            idle.append(name)
    return idle
