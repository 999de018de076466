"""The product of effects beside the measured whole."""

import pytest

from labkit.estimate.product import Product
from labkit.measure import Measurement

PARTS = {"a": Measurement(2, 1.5, 2.5, "×", 3), "b": Measurement.exact(3, "×")}


def test_effects_that_multiply_have_a_share_of_one():
    factors = {name: Measurement.exact(part.value, "×") for name, part in PARTS.items()}
    assert Product("base", "whole", factors, Measurement.exact(6, "×")).share.value == 1


def test_the_prediction_has_the_widest_interval_that_the_parts_allow():
    assert Product("base", "whole", PARTS, Measurement.exact(6, "×")).predicted == Measurement(6, 4.5, 7.5, "×")


def test_a_share_that_was_measured_in_pairs_stands_in_place_of_the_ratio():
    paired = Measurement(0.8, 0.79, 0.81, "×", 9)
    assert Product("base", "whole", PARTS, Measurement.exact(5, "×"), paired).share == paired


@pytest.mark.parametrize("paired", [None, Measurement(0.8, 0.7, 0.9, "×")])
def test_it_is_read_from_json_as_it_was(paired):
    product = Product("base", "whole", PARTS, Measurement.exact(5, "×"), paired)
    assert Product.from_dict(product.as_dict()) == product
