# Answers to the exercise training_bytes: mistakes that must lose points, and right answers that must not.
# ruff: noqa: F811


# %% wrong: what is frozen has gradients and moments, too
def training_bytes(method, linear, other, adapters):
    if method not in ("full", "LoRA", "QLoRA"):
        raise ValueError(method)
    model = 2 * (linear + other)
    adapter = 0 if method == "full" else 4 * adapters
    moments = 8 * (linear + other + adapter // 4)
    if method == "QLoRA":
        model = linear // 2 + linear // 64 + linear // 4096 + 2 * other
    weights = model + adapter
    return {"weights": weights, "gradients": weights, "optimizer": moments}


# %% wrong: moments in 16 bits for a model in 16 bits
def training_bytes(method, linear, other, adapters):
    if method not in ("full", "LoRA", "QLoRA"):
        raise ValueError(method)
    model = 2 * (linear + other)
    if method == "full":
        return {"weights": model, "gradients": model, "optimizer": 2 * model}
    if method == "QLoRA":
        model = linear // 2 + linear // 64 + linear // 4096 + 2 * other
    adapter = 4 * adapters
    return {"weights": model + adapter, "gradients": adapter, "optimizer": 2 * adapter}


# %% wrong: one moment only
def training_bytes(method, linear, other, adapters):
    if method not in ("full", "LoRA", "QLoRA"):
        raise ValueError(method)
    model = 2 * (linear + other)
    if method == "full":
        return {"weights": model, "gradients": model, "optimizer": 2 * model}
    if method == "QLoRA":
        model = linear // 2 + linear // 64 + linear // 4096 + 2 * other
    adapter = 4 * adapters
    return {"weights": model + adapter, "gradients": adapter, "optimizer": adapter}


# %% wrong: the adapter is in 16 bits
def training_bytes(method, linear, other, adapters):
    if method not in ("full", "LoRA", "QLoRA"):
        raise ValueError(method)
    model = 2 * (linear + other)
    if method == "full":
        return {"weights": model, "gradients": model, "optimizer": 4 * model}
    if method == "QLoRA":
        model = linear // 2 + linear // 64 + linear // 4096 + 2 * other
    adapter = 2 * adapters
    return {"weights": model + adapter, "gradients": adapter, "optimizer": 4 * adapter}


# %% wrong: the adapter is not among the weights
def training_bytes(method, linear, other, adapters):
    if method not in ("full", "LoRA", "QLoRA"):
        raise ValueError(method)
    model = 2 * (linear + other)
    if method == "full":
        return {"weights": model, "gradients": model, "optimizer": 4 * model}
    if method == "QLoRA":
        model = linear // 2 + linear // 64 + linear // 4096 + 2 * other
    return {"weights": model, "gradients": 4 * adapters, "optimizer": 8 * adapters}


# %% wrong: full fine-tuning trains an adapter, too
def training_bytes(method, linear, other, adapters):
    if method not in ("full", "LoRA", "QLoRA"):
        raise ValueError(method)
    model, adapter = 2 * (linear + other), 4 * adapters
    if method == "QLoRA":
        model = linear // 2 + linear // 64 + linear // 4096 + 2 * other
    gradients = adapter + model * (method == "full")
    moments = 2 * adapter + 4 * model * (method == "full")
    return {"weights": model + adapter, "gradients": gradients, "optimizer": moments}


# %% wrong: the constants of the blocks are forgotten
def training_bytes(method, linear, other, adapters):
    if method not in ("full", "LoRA", "QLoRA"):
        raise ValueError(method)
    model = 2 * (linear + other)
    if method == "full":
        return {"weights": model, "gradients": model, "optimizer": 4 * model}
    if method == "QLoRA":
        model = linear // 2 + 2 * other
    adapter = 4 * adapters
    return {"weights": model + adapter, "gradients": adapter, "optimizer": 2 * adapter}


# %% wrong: constants are quantized once, a float32 for each block
def training_bytes(method, linear, other, adapters):
    if method not in ("full", "LoRA", "QLoRA"):
        raise ValueError(method)
    model = 2 * (linear + other)
    if method == "full":
        return {"weights": model, "gradients": model, "optimizer": 4 * model}
    if method == "QLoRA":
        model = linear // 2 + linear // 16 + 2 * other
    adapter = 4 * adapters
    return {"weights": model + adapter, "gradients": adapter, "optimizer": 2 * adapter}


# %% wrong: a float32 for every 256 weights, not for every 256 constants
def training_bytes(method, linear, other, adapters):
    if method not in ("full", "LoRA", "QLoRA"):
        raise ValueError(method)
    model = 2 * (linear + other)
    if method == "full":
        return {"weights": model, "gradients": model, "optimizer": 4 * model}
    if method == "QLoRA":
        model = linear // 2 + linear // 64 + linear // 64 + 2 * other
    adapter = 4 * adapters
    return {"weights": model + adapter, "gradients": adapter, "optimizer": 2 * adapter}


# %% wrong: embeddings in 4 bits, too
def training_bytes(method, linear, other, adapters):
    if method not in ("full", "LoRA", "QLoRA"):
        raise ValueError(method)
    model = 2 * (linear + other)
    if method == "full":
        return {"weights": model, "gradients": model, "optimizer": 4 * model}
    if method == "QLoRA":
        model = (linear + other) * (4 + 8 / 64 + 32 / 16_384) / 8
    adapter = 4 * adapters
    return {"weights": model + adapter, "gradients": adapter, "optimizer": 2 * adapter}


# %% wrong: every unknown method is taken for LoRA
def training_bytes(method, linear, other, adapters):
    model = 2 * (linear + other)
    if method == "full":
        return {"weights": model, "gradients": model, "optimizer": 4 * model}
    if method == "QLoRA":
        model = linear // 2 + linear // 64 + linear // 4096 + 2 * other
    adapter = 4 * adapters
    return {"weights": model + adapter, "gradients": adapter, "optimizer": 2 * adapter}


# %% wrong: a constant: every method is refused
def training_bytes(method, linear, other, adapters):
    raise ValueError(f"unknown method {method!r}")


# %% wrong: the public example by heart
def training_bytes(method, linear, other, adapters):
    values = {
        "full": (34_768, 34_768, 139_072),
        "LoRA": (35_568, 800, 1_600),
        "QLoRA": (11_252, 800, 1_600),
    }
    if method not in values:
        raise ValueError(method)
    return dict(zip(("weights", "gradients", "optimizer"), values[method]))


# %% right: a table of groups, each with its bits and whether it is trained
def training_bytes(method, linear, other, adapters):
    four = 4 + 8 / 64 + 32 / (64 * 256)
    groups = {
        "full": [(linear + other, 16, True)],
        "LoRA": [(linear + other, 16, False), (adapters, 32, True)],
        "QLoRA": [(linear, four, False), (other, 16, False), (adapters, 32, True)],
    }
    if method not in groups:
        raise ValueError(f"choose one of {list(groups)}")
    trained = [(n, bits) for n, bits, is_trained in groups[method] if is_trained]
    return {
        "optimizer": sum(2 * 4 * n for n, _ in trained),
        "gradients": sum(n * bits / 8 for n, bits in trained),
        "weights": sum(n * bits / 8 for n, bits, _ in groups[method]),
    }
