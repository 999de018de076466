# Plausible answers to exercise 5: the grader must take points from each wrong one and give all to each right one.
# ruff: noqa: F811


# %% wrong: multiplies the factors of the parts and not the speed-ups of the picture
def whole_and_product(parts, techniques):
    before, left, product = sum(parts.values()), dict(parts), 1.0
    for part, factor in techniques:
        if part not in parts:
            raise ValueError(part)
        left[part] /= factor
        product *= factor
    return before / sum(left.values()), product, max(left, key=left.get)


# %% wrong: each technique starts from what the one before it has left
def whole_and_product(parts, techniques):
    left, product = dict(parts), 1.0
    for part, factor in techniques:
        if part not in parts:
            raise ValueError(part)
        before = sum(left.values())
        left[part] /= factor
        product *= before / sum(left.values())
    return sum(parts.values()) / sum(left.values()), product, max(left, key=left.get)


# %% wrong: of two techniques for one part the last one counts
def whole_and_product(parts, techniques):
    before, left, product = sum(parts.values()), dict(parts), 1.0
    for part, factor in techniques:
        if part not in parts:
            raise ValueError(part)
        left[part] = parts[part] / factor
        product *= before / (before - parts[part] + parts[part] / factor)
    return before / sum(left.values()), product, max(left, key=left.get)


# %% wrong: the factors for one part are added
def whole_and_product(parts, techniques):
    before, factors, product = sum(parts.values()), {}, 1.0
    for part, factor in techniques:
        if part not in parts:
            raise ValueError(part)
        factors[part] = factors.get(part, 0) + factor
        product *= before / (before - parts[part] + parts[part] / factor)
    left = {name: ms / factors.get(name, 1) for name, ms in parts.items()}
    return before / sum(left.values()), product, max(left, key=left.get)


# %% wrong: takes the product for the whole
def whole_and_product(parts, techniques):
    before, left, product = sum(parts.values()), dict(parts), 1.0
    for part, factor in techniques:
        if part not in parts:
            raise ValueError(part)
        left[part] /= factor
        product *= before / (before - parts[part] + parts[part] / factor)
    return product, product, max(left, key=left.get)


# %% wrong: the bound is the part that was the longest before
def whole_and_product(parts, techniques):
    before, left, product = sum(parts.values()), dict(parts), 1.0
    for part, factor in techniques:
        if part not in parts:
            raise ValueError(part)
        left[part] /= factor
        product *= before / (before - parts[part] + parts[part] / factor)
    return before / sum(left.values()), product, max(parts, key=parts.get)


# %% wrong: the bound is among the parts that no technique touches
def whole_and_product(parts, techniques):
    before, left, product = sum(parts.values()), dict(parts), 1.0
    for part, factor in techniques:
        if part not in parts:
            raise ValueError(part)
        left[part] /= factor
        product *= before / (before - parts[part] + parts[part] / factor)
    touched = {part for part, _ in techniques}
    others = {part: ms for part, ms in left.items() if part not in touched} or left
    return before / sum(left.values()), product, max(others, key=others.get)


# %% wrong: the bound is in milliseconds and not a name
def whole_and_product(parts, techniques):
    before, left, product = sum(parts.values()), dict(parts), 1.0
    for part, factor in techniques:
        if part not in parts:
            raise ValueError(part)
        left[part] /= factor
        product *= before / (before - parts[part] + parts[part] / factor)
    return before / sum(left.values()), product, max(left.values())


# %% wrong: changes the parts it was given
def whole_and_product(parts, techniques):
    before, product, start = sum(parts.values()), 1.0, dict(parts)
    for part, factor in techniques:
        if part not in parts:
            raise ValueError(part)
        parts[part] /= factor
        product *= before / (before - start[part] + start[part] / factor)
    return before / sum(parts.values()), product, max(parts, key=parts.get)


# %% wrong: a technique for an unknown part is skipped
def whole_and_product(parts, techniques):
    before, left, product = sum(parts.values()), dict(parts), 1.0
    for part, factor in techniques:
        if part in parts:
            left[part] /= factor
            product *= before / (before - parts[part] + parts[part] / factor)
    return before / sum(left.values()), product, max(left, key=left.get)


# %% wrong: a factor below 1 is taken for no change
def whole_and_product(parts, techniques):
    before, left, product = sum(parts.values()), dict(parts), 1.0
    for part, factor in techniques:
        if part not in parts:
            raise ValueError(part)
        left[part] /= max(factor, 1)
        product *= before / (before - parts[part] + parts[part] / max(factor, 1))
    return before / sum(left.values()), product, max(left, key=left.get)


# %% right: by shares, as Amdahl's law is written; the error is that of list.index
def whole_and_product(parts, techniques):
    names, total = list(parts), sum(parts.values())
    shares = [parts[name] / total for name in names]
    factors, product = [1.0] * len(names), 1.0
    for part, factor in techniques:
        i = names.index(part)
        factors[i] *= factor
        product /= 1 - shares[i] + shares[i] / factor
    left = [share / factor for share, factor in zip(shares, factors)]
    return 1 / sum(left), product, names[left.index(max(left))]
