# Answers to the exercise lora_forward: mistakes that must lose points, and right answers that must not.
# ruff: noqa: F811
import torch


# %% wrong: alpha is not divided by the rank
def lora_forward(x, weight, A, B, alpha):
    return x @ weight.T + alpha * (x @ A.T @ B.T)


# %% wrong: the scale is forgotten
def lora_forward(x, weight, A, B, alpha):
    return x @ weight.T + x @ A.T @ B.T


# %% wrong: the rank is taken from the wrong dimension
def lora_forward(x, weight, A, B, alpha):
    return x @ weight.T + alpha / A.shape[1] * (x @ A.T @ B.T)


# %% wrong: integer division
def lora_forward(x, weight, A, B, alpha):
    return x @ weight.T + alpha // A.shape[0] * (x @ A.T @ B.T)


# %% wrong: the frozen layer is scaled, too
def lora_forward(x, weight, A, B, alpha):
    return alpha / A.shape[0] * (x @ weight.T + x @ A.T @ B.T)


# %% wrong: the frozen layer is forgotten
def lora_forward(x, weight, A, B, alpha):
    return alpha / A.shape[0] * (x @ A.T @ B.T)


# %% wrong: only a batch of vectors works
def lora_forward(x, weight, A, B, alpha):
    return torch.mm(x, weight.T) + alpha / A.shape[0] * torch.mm(torch.mm(x, A.T), B.T)


# %% wrong: the adapter is merged into the weight that was given
def lora_forward(x, weight, A, B, alpha):
    weight += alpha / A.shape[0] * (B @ A)
    return x @ weight.T


# %% wrong: no gradient reaches the adapter
def lora_forward(x, weight, A, B, alpha):
    with torch.no_grad():
        adapter = alpha / A.shape[0] * (x @ A.T @ B.T)
    return x @ weight.T + adapter


# %% wrong: no gradient reaches A
def lora_forward(x, weight, A, B, alpha):
    return x @ weight.T + alpha / A.shape[0] * ((x @ A.T).detach() @ B.T)


# %% wrong: the public example by heart
def lora_forward(x, weight, A, B, alpha):
    return torch.tensor([3.0, 5.0]) if weight.any() else torch.tensor([0.0, 2.0])


# %% right: one matrix, made anew
def lora_forward(x, weight, A, B, alpha):
    return torch.nn.functional.linear(x, weight + alpha * (B @ A) / len(A))


# %% right: sums over named indices
def lora_forward(x, weight, A, B, alpha):
    y = torch.einsum("...i,oi->...o", x, weight)
    return y + torch.einsum("...i,ri,or->...o", x, A, B) * (alpha / B.shape[1])
