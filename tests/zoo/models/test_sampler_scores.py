"""What the judge said of a recorded run's pictures, and what few pictures add to a distance."""

import pytest

from labkit.zoo import Scores, Variant, distance_by_number, text_to_image

ROWS = [
    {"name": "test pictures", "seed": 4, "prompt": 0.9, "distance": 0.2},
    {"name": "test pictures", "seed": 5, "prompt": 0.92, "distance": 0.3},
    *(
        {"name": "LCM-LoRA", "seed": seed, "steps": 4, "guidance": 1.0, "merged": m, "prompt": p, "distance": d}
        for seed, m, p, d in ((4, 0.0, 0.95, 1.0), (5, 0.0, 0.97, 1.2), (4, 0.5, 0.9, 1.2), (5, 0.5, 0.93, 1.5))
    ),
]
FOUR, HALF = Variant("LCM-LoRA", 4), Variant("LCM-LoRA", 4, merged=0.5)


def test_a_variant_says_what_it_is_and_what_it_costs():
    assert str(Variant("DPM-Solver++", 1)) == "DPM-Solver++, 1 step"
    assert str(Variant("DPM-Solver++", 25, 1.5, 0.25)) == "DPM-Solver++, 25 steps, guided 1.5, 25% merged"
    assert (Variant("a", 4).evaluations, Variant("a", 4, 2.0).evaluations) == (4, 8)
    assert Variant("a", 4) == Variant("a", 4, 1.0, 0.0)


def test_scores_are_those_of_the_variant_over_its_seeds():
    scores = Scores(ROWS)
    assert scores.by_seed("distance", FOUR) == [1.0, 1.2] and scores.by_seed("distance", "test pictures") == [0.2, 0.3]
    known = scores.known(HALF)
    assert list(known) == ["prompt_2000", "distance_2000"]
    assert (known["prompt_2000"].value, known["prompt_2000"].unit) == (pytest.approx(91.5), "%")
    assert (known["distance_2000"].value, known["distance_2000"].n) == (pytest.approx(1.35), 2)


def test_what_was_not_scored_is_not_known():
    scores = Scores(ROWS)
    assert scores.known(Variant("LCM-LoRA", 3)) == {} and scores.known("autoencoder") == {}
    with pytest.raises(KeyError, match="LCM-LoRA, 3 steps"):
        scores.apart("distance", FOUR, Variant("LCM-LoRA", 3))


def test_differences_are_taken_seed_by_seed():
    scores = Scores(ROWS)
    farther, followed = scores.apart("distance", HALF, FOUR), scores.apart("prompt", FOUR, HALF)
    assert (farther.value, farther.unit) == (pytest.approx(0.25), "")
    assert (followed.value, followed.unit) == (pytest.approx(4.5), "points")


def test_without_rows_it_is_false_and_with_those_that_ship_it_knows_the_samplers_of_the_lab():
    assert not Scores([]) and Scores([]).known(FOUR) == {}
    scores = Scores()
    assert scores
    for variant in (FOUR, HALF, Variant("DPM-Solver++", 25, 1.5), "test pictures", "autoencoder"):
        assert scores.known(variant)["distance_2000"].n == 8


def test_few_pictures_lie_farther_from_real_ones_though_they_are_real():
    distances = distance_by_number(text_to_image(), (40, 100), pictures=200)
    assert (distances[40].n, distances[100].n) == (5, 2)
    assert distances[40].value > 1.5 * distances[100].value > 1
