# Answers to `admissible_orders` that the grader must tell apart: plausible mistakes, and right ones written otherwise.
# ruff: noqa: F811

# %% wrong: the earlier step has to come directly before the later one
def admissible_orders(steps, before):
    from itertools import permutations

    rules = [(a, b) for a, b in before if a in steps and b in steps]
    return [
        order
        for order in permutations(sorted(steps))
        if all(order.index(b) - order.index(a) == 1 for a, b in rules)
    ]


# %% wrong: the pairs are read the other way round
def admissible_orders(steps, before):
    from itertools import permutations

    rules = [(a, b) for a, b in before if a in steps and b in steps]
    return [
        order
        for order in permutations(sorted(steps))
        if all(order.index(a) > order.index(b) for a, b in rules)
    ]


# %% wrong: in the order in which permutations of the given list come
def admissible_orders(steps, before):
    from itertools import permutations

    rules = [(a, b) for a, b in before if a in steps and b in steps]
    return [
        order
        for order in permutations(steps)
        if all(order.index(a) < order.index(b) for a, b in rules)
    ]


# %% wrong: a rule about an absent step raises an error
def admissible_orders(steps, before):
    from itertools import permutations

    return [
        order
        for order in permutations(sorted(steps))
        if all(order.index(a) < order.index(b) for a, b in before)
    ]


# %% wrong: a rule about an absent step forbids every order
def admissible_orders(steps, before):
    from itertools import permutations

    return [
        order
        for order in permutations(sorted(steps))
        if all(
            a in order and b in order and order.index(a) < order.index(b)
            for a, b in before
        )
    ]


# %% wrong: one order that breaks no pair, not all
def admissible_orders(steps, before):
    from itertools import permutations

    rules = [(a, b) for a, b in before if a in steps and b in steps]
    for order in permutations(sorted(steps)):
        if all(order.index(a) < order.index(b) for a, b in rules):
            return [order]
    return []


# %% wrong: one rule that is kept is enough
def admissible_orders(steps, before):
    from itertools import permutations

    rules = [(a, b) for a, b in before if a in steps and b in steps]
    return [
        order
        for order in permutations(sorted(steps))
        if not rules or any(order.index(a) < order.index(b) for a, b in rules)
    ]


# %% wrong: of no steps there is no order
def admissible_orders(steps, before):
    from itertools import permutations

    rules = [(a, b) for a, b in before if a in steps and b in steps]
    return [
        order
        for order in permutations(sorted(steps))
        if order and all(order.index(a) < order.index(b) for a, b in rules)
    ]


# %% wrong: the steps are sorted in place
def admissible_orders(steps, before):
    from itertools import permutations

    steps.sort()
    rules = [(a, b) for a, b in before if a in steps and b in steps]
    return [
        order
        for order in permutations(steps)
        if all(order.index(a) < order.index(b) for a, b in rules)
    ]


# %% wrong: the public answer
def admissible_orders(steps, before):
    return [
        ("prune", "distill", "quantize"),
        ("prune", "quantize", "distill"),
        ("quantize", "prune", "distill"),
    ]


# %% right: all permutations, the bad ones thrown out, sorted at the end
def admissible_orders(steps, before):
    from itertools import permutations

    found = []
    for order in permutations(steps):
        place = {step: number for number, step in enumerate(order)}
        known = [(a, b) for a, b in before if a in place and b in place]
        if all(place[a] < place[b] for a, b in known):
            found.append(order)
    return sorted(found)


# %% right: beginnings that grow from the front, without recursion
def admissible_orders(steps, before):
    needs = {step: {a for a, b in before if b == step and a in steps} for step in steps}
    beginnings = [()]
    for _ in steps:
        beginnings = [
            (*done, step)
            for done in beginnings
            for step in steps
            if step not in done and needs[step] <= set(done)
        ]
    return sorted(beginnings)
