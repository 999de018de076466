# Answers to `pareto_front` that the grader must tell apart: plausible mistakes, and right ones written otherwise.
# ruff: noqa: F811

# %% wrong: equals dominate each other, so that both go
def pareto_front(files, losses):
    points = list(zip(files, losses))
    return [
        i
        for i, (f, x) in enumerate(points)
        if not any(g <= f and y <= x for j, (g, y) in enumerate(points) if j != i)
    ]


# %% wrong: of equals only the first is kept
def pareto_front(files, losses):
    points = list(zip(files, losses))
    return [
        i
        for i, (f, x) in enumerate(points)
        if (f, x) not in points[:i]
        and not any(g <= f and y <= x and (g, y) != (f, x) for g, y in points)
    ]


# %% wrong: only what is better in both dominates
def pareto_front(files, losses):
    points = list(zip(files, losses))
    return [
        i
        for i, (f, x) in enumerate(points)
        if not any(g < f and y < x for g, y in points)
    ]


# %% wrong: smaller dominates strictly, an equal size with less loss does not
def pareto_front(files, losses):
    points = list(zip(files, losses))
    return [
        i
        for i, (f, x) in enumerate(points)
        if not any(g < f and y <= x for g, y in points)
    ]


# %% wrong: the loss is taken for a quality, of which more is better
def pareto_front(files, losses):
    points = list(zip(files, losses))
    return [
        i
        for i, (f, x) in enumerate(points)
        if not any(g <= f and y >= x and (g, y) != (f, x) for g, y in points)
    ]


# %% wrong: in the order of the sizes
def pareto_front(files, losses):
    points = list(zip(files, losses))
    order = sorted(range(len(points)), key=lambda i: points[i])
    front = []
    for i in order:
        last = points[front[-1]] if front else (0, float("inf"))
        if points[i][1] < last[1] or points[i] == last:
            front.append(i)
    return front


# %% wrong: the points, not their indices
def pareto_front(files, losses):
    points = list(zip(files, losses))
    return [
        (f, x)
        for f, x in points
        if not any(g <= f and y <= x and (g, y) != (f, x) for g, y in points)
    ]


# %% wrong: the input is sorted in place
def pareto_front(files, losses):
    points = list(zip(files, losses))
    files.sort()
    losses.sort()
    return [
        i
        for i, (f, x) in enumerate(points)
        if not any(g <= f and y <= x and (g, y) != (f, x) for g, y in points)
    ]


# %% wrong: the public answer
def pareto_front(files, losses):
    return [0, 1, 2]


# %% right: one sweep from the smallest file, sorted at the end
def pareto_front(files, losses):
    order = sorted(range(len(files)), key=lambda i: (files[i], losses[i]))
    front = []
    for i in order:
        if (
            not front
            or losses[i] < losses[front[-1]]
            or (files[i], losses[i]) == (files[front[-1]], losses[front[-1]])
        ):
            front.append(i)
    return sorted(front)


# %% right: all pairs at once, in NumPy
def pareto_front(files, losses):
    import numpy as np

    f, x = np.asarray(files, dtype=float), np.asarray(losses, dtype=float)
    no_worse = (f[:, None] <= f) & (x[:, None] <= x)
    better = (f[:, None] < f) | (x[:, None] < x)
    return np.flatnonzero(~(no_worse & better).any(axis=0)).tolist()
