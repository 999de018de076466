"""Time by kind of operation."""

import pytest
import torch
from torch import nn

from labkit.measure.by_kind import KINDS, REST, time_by_kind


def test_shares_add_up_and_go_to_the_kind_that_was_called():
    layer, x = nn.Conv2d(8, 8, 3), torch.randn(4, 8, 32, 32)
    shares = time_by_kind(lambda: layer(x), runs=3)
    assert list(shares) == [*KINDS, REST]
    assert {share.unit for share in shares.values()} == {"%"} and shares["attention"].value == 0
    assert shares["convolution"].value > 50 and shares["convolution"].n == 3


def test_kinds_may_be_others_and_the_first_that_fits_counts():
    a, b = torch.randn(64, 64), torch.randn(64, 64)
    shares = time_by_kind(lambda: a @ b, runs=1, kinds={"products": ("::mm", "matmul"), "also": ("::mm",)})
    assert shares["products"].value > 50 and shares["also"].value == 0
    assert sum(share.value for share in shares.values()) == pytest.approx(100)


def test_the_first_call_does_not_count():
    calls = []
    time_by_kind(lambda: calls.append(torch.ones(2) + 1), runs=4)
    assert len(calls) == 5


def test_no_runs_are_an_error():
    with pytest.raises(ValueError, match="0 runs"):
        time_by_kind(lambda: None, runs=0)


def test_a_call_that_does_nothing_has_no_shares():
    with pytest.raises(ValueError, match="the profiler saw no operation"):
        time_by_kind(lambda: None, runs=1)
