"""The Pareto front: what nothing else beats in cost and quality at once."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(costs: Sequence[float], qualities: Sequence[float]) -> list[int]:
    """Indices of the points that no other dominates, from the cheapest to the best.

    A point dominates another when it costs no more and is no worse, and differs in one of the two.

    Raises:
        ValueError: a number is NaN, or there are not as many costs as qualities.

    >>> pareto_front([1, 2, 3], [70, 90, 80])
    [0, 1]
    """
    points = list(zip(costs, qualities, strict=True))
    if any(number != number for point in points for number in point):
        raise ValueError("a cost or a quality is NaN, which is neither more nor less than another: leave it out")
    front: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[i][1] > points[front[-1]][1] or points[i] == points[front[-1]]:
            front.append(i)
    return front
