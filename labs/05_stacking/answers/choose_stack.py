# Answers to `choose_stack` that the grader must tell apart: plausible mistakes, and right ones written otherwise.
# ruff: noqa: F811

# %% wrong: rows are counted, not different seeds
def choose_stack(rows, bound):
    allowed = []
    for steps in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == steps]
        many = len(own) >= 3 or any(row[1] is None for row in own)
        if many and max(row[4] for row in own) <= bound:
            file = sum(row[2] for row in own) / len(own)
            allowed.append((file, max(row[4] for row in own), steps))
    return min(allowed)[2] if allowed else None


# %% wrong: no rule about seeds
def choose_stack(rows, bound):
    allowed = []
    for steps in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == steps]
        if max(row[4] for row in own) <= bound:
            file = sum(row[2] for row in own) / len(own)
            allowed.append((file, max(row[4] for row in own), steps))
    return min(allowed)[2] if allowed else None


# %% wrong: more than three seeds
def choose_stack(rows, bound):
    allowed = []
    for steps in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == steps]
        seeds = {row[1] for row in own}
        if (len(seeds) > 3 or None in seeds) and max(row[4] for row in own) <= bound:
            file = sum(row[2] for row in own) / len(own)
            allowed.append((file, max(row[4] for row in own), steps))
    return min(allowed)[2] if allowed else None


# %% wrong: a stack without random steps needs three runs, too
def choose_stack(rows, bound):
    allowed = []
    for steps in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == steps]
        seeds = {row[1] for row in own}
        if len(seeds) >= 3 and max(row[4] for row in own) <= bound:
            file = sum(row[2] for row in own) / len(own)
            allowed.append((file, max(row[4] for row in own), steps))
    return min(allowed)[2] if allowed else None


# %% wrong: the middle of the interval, not the whole, keeps the bound
def choose_stack(rows, bound):
    allowed = []
    for steps in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == steps]
        seeds = {row[1] for row in own}
        middle = sum(row[3] + row[4] for row in own) / (2 * len(own))
        if (len(seeds) >= 3 or None in seeds) and middle <= bound:
            file = sum(row[2] for row in own) / len(own)
            allowed.append((file, max(row[4] for row in own), steps))
    return min(allowed)[2] if allowed else None


# %% wrong: the upper ends are averaged
def choose_stack(rows, bound):
    allowed = []
    for steps in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == steps]
        seeds = {row[1] for row in own}
        high = sum(row[4] for row in own) / len(own)
        if (len(seeds) >= 3 or None in seeds) and high <= bound:
            allowed.append((sum(row[2] for row in own) / len(own), high, steps))
    return min(allowed)[2] if allowed else None


# %% wrong: runs above the bound are dropped, and the rest of the stack judged
def choose_stack(rows, bound):
    allowed = []
    good = [row for row in rows if row[4] <= bound]
    for steps in {row[0] for row in good}:
        own = [row for row in good if row[0] == steps]
        seeds = {row[1] for row in own}
        if len(seeds) >= 3 or None in seeds:
            file = sum(row[2] for row in own) / len(own)
            allowed.append((file, max(row[4] for row in own), steps))
    return min(allowed)[2] if allowed else None


# %% wrong: the bound itself is not allowed
def choose_stack(rows, bound):
    allowed = []
    for steps in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == steps]
        seeds = {row[1] for row in own}
        if (len(seeds) >= 3 or None in seeds) and max(row[4] for row in own) < bound:
            file = sum(row[2] for row in own) / len(own)
            allowed.append((file, max(row[4] for row in own), steps))
    return min(allowed)[2] if allowed else None


# %% wrong: the smallest file of any run
def choose_stack(rows, bound):
    allowed = []
    for steps in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == steps]
        seeds = {row[1] for row in own}
        if (len(seeds) >= 3 or None in seeds) and max(row[4] for row in own) <= bound:
            file = min(row[2] for row in own)
            allowed.append((file, max(row[4] for row in own), steps))
    return min(allowed)[2] if allowed else None


# %% wrong: the same steps in another order are taken for the same stack
def choose_stack(rows, bound):
    allowed = []
    for names in {frozenset(row[0]) for row in rows}:
        own = [row for row in rows if frozenset(row[0]) == names]
        seeds = {row[1] for row in own}
        if (len(seeds) >= 3 or None in seeds) and max(row[4] for row in own) <= bound:
            file = sum(row[2] for row in own) / len(own)
            allowed.append((file, max(row[4] for row in own), own[0][0]))
    return min(allowed)[2] if allowed else None


# %% wrong: of equally small ones the first by name
def choose_stack(rows, bound):
    allowed = []
    for steps in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == steps]
        seeds = {row[1] for row in own}
        if (len(seeds) >= 3 or None in seeds) and max(row[4] for row in own) <= bound:
            allowed.append((sum(row[2] for row in own) / len(own), steps))
    return min(allowed)[1] if allowed else None


# %% wrong: an error where no stack keeps the rules
def choose_stack(rows, bound):
    allowed = []
    for steps in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == steps]
        seeds = {row[1] for row in own}
        if (len(seeds) >= 3 or None in seeds) and max(row[4] for row in own) <= bound:
            file = sum(row[2] for row in own) / len(own)
            allowed.append((file, max(row[4] for row in own), steps))
    return min(allowed)[2]


# %% wrong: the rows are sorted in place
def choose_stack(rows, bound):
    rows.sort(key=lambda row: row[0])
    allowed = []
    for steps in {row[0] for row in rows}:
        own = [row for row in rows if row[0] == steps]
        seeds = {row[1] for row in own}
        if (len(seeds) >= 3 or None in seeds) and max(row[4] for row in own) <= bound:
            file = sum(row[2] for row in own) / len(own)
            allowed.append((file, max(row[4] for row in own), steps))
    return min(allowed)[2] if allowed else None


# %% wrong: the public answer
def choose_stack(rows, bound):
    if len(rows) == 1:
        return ("half",) if bound >= 0.3 else None
    return ("prune",)


# %% right: one pass that keeps sums, and the best so far
def choose_stack(rows, bound):
    stacks = {}
    for steps, seed, file, _, high in rows:
        one = stacks.setdefault(
            steps, {"seeds": set(), "sum": 0, "n": 0, "high": -1e30}
        )
        one["seeds"].add(seed)
        one["sum"] += file
        one["n"] += 1
        one["high"] = max(one["high"], high)
    best, best_key = None, None
    for steps, one in stacks.items():
        if one["high"] > bound or (len(one["seeds"]) < 3 and one["seeds"] != {None}):
            continue
        key = one["sum"] / one["n"], one["high"]
        if best is None or key < best_key:
            best, best_key = steps, key
    return best


# %% right: sorted and grouped, with NumPy's mean
def choose_stack(rows, bound):
    from itertools import groupby

    import numpy as np

    found = []
    for steps, group in groupby(
        sorted(rows, key=lambda row: row[0]), lambda row: row[0]
    ):
        _, seeds, files, _, highs = zip(*group)
        if (seeds[0] is None or len(set(seeds)) > 2) and np.max(highs) <= bound:
            found.append((np.mean(files), np.max(highs), steps))
    return sorted(found)[0][2] if found else None
