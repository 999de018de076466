"""The product of effects beside the measured whole."""

import numpy as np
import pytest

from labkit.estimate.product import Product, by_baseline
from labkit.measure import Measurement, Timings

PARTS = {"a": Measurement(2, 1.5, 2.5, "×", 3), "b": Measurement.exact(3, "×")}


def size(bytes_: float) -> Measurement:
    return Measurement.exact(bytes_, "bytes")


def test_effects_that_multiply_have_a_share_of_one():
    product = Product.of_costs("base", size(12), {"a": size(6), "b": size(4)}, "whole", size(2))
    assert {name: factor.value for name, factor in product.factors.items()} == {"a": 2, "b": 3}
    assert (product.predicted.value, product.measured.value, product.share.value) == (6, 6, 1)


def test_effects_that_overlap_have_a_smaller_share():
    assert Product.of_costs("base", size(12), {"a": size(6), "b": size(6)}, "whole", size(6)).share.value == 0.5


@pytest.mark.parametrize("alone", [{}, {"a": size(6)}])
def test_one_part_makes_no_product(alone):
    with pytest.raises(ValueError, match="two parts or more, each measured alone; got (a|none)"):
        Product.of_costs("base", size(12), alone, "whole", size(6))
    with pytest.raises(ValueError, match="two parts or more, each timed alone; got (a|none)"):
        Product.of_times(Timings({}), "base", dict.fromkeys(alone, "a"), "whole")


def test_all_is_measured_by_one_instrument():
    with pytest.raises(ValueError, match="a ratio needs one unit, got 'bytes' and '×'"):
        Product.of_costs("base", size(12), {"a": size(6), "b": Measurement.exact(3, "×")}, "whole", size(2))


def test_times_make_a_product_round_by_round():
    machine = np.array([1.0, 3.0, 1.0, 2.0, 5.0, 1.0, 4.0, 1.0])  # how slow it is in each round
    seconds = {"base": 12 * machine, "fewer": 6 * machine, "smaller": 4 * machine, "both": 3 * machine}
    product = Product.of_times(Timings(seconds), "base", {"a": "fewer", "b": "smaller"}, "both")
    assert (product.factors["a"].value, product.factors["b"].value, product.measured.value) == (2, 3, 4)
    assert (product.share.value, product.share.n) == (pytest.approx(2 / 3), 8)


def test_the_prediction_has_the_widest_interval_that_the_parts_allow():
    assert Product("base", "whole", PARTS, Measurement.exact(6, "×")).predicted == Measurement(6, 4.5, 7.5, "×", 3)


def test_a_share_that_was_measured_in_pairs_stands_in_place_of_the_ratio():
    paired = Measurement(0.8, 0.79, 0.81, "×", 9)
    assert Product("base", "whole", PARTS, Measurement.exact(5, "×"), paired).share == paired


@pytest.mark.parametrize("paired", [None, Measurement(0.8, 0.7, 0.9, "×")])
def test_it_is_read_from_json_as_it_was(paired):
    product = Product("base", "whole", PARTS, Measurement.exact(5, "×"), paired)
    assert Product.from_dict(product.as_dict()) == product


def test_the_share_depends_on_how_the_start_was_measured():
    alone, starts = {"a": size(6), "b": size(4)}, {"compressed": size(12), "raw": size(24)}
    table = by_baseline(starts, alone, "stack", size(2))
    assert table.head == ["baseline", "cost", "stack", "share of the product"]
    assert [[row[0], *row[2:]] for row in table.rows] == [["compressed", "6.00×", "1.00×"], ["raw", "12.0×", "0.500×"]]
