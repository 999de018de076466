"""The Pareto front: what nothing else beats in cost and quality at once."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(costs: Sequence[float], qualities: Sequence[float]) -> list[int]:
    """Indices of the points that no other dominates, from the cheapest to the best.

    A point dominates another when it costs no more and is no worse, and differs in one of the two.

    >>> pareto_front([1, 2, 3], [70, 90, 80])
    [0, 1]
    """
    points = list(zip(costs, qualities, strict=True))
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1] or points[i] == points[front[-1]]:
            front.append(i)
    return front
