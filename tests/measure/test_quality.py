"""Quality: accuracy, agreement, perplexity, and what was lost of them."""

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import nn

from labkit.measure import (
    Measurement,
    accuracy,
    accuracy_loss,
    agreement,
    agreement_by_source,
    block_losses,
    loss_difference,
    mean_accuracy_loss,
    mean_with_interval,
    median_with_interval,
    pareto_front,
    perplexity,
    perplexity_ratio,
    predict,
)


def hits(*right: bool) -> torch.Tensor:
    """Predictions that are right, or not, where every label is 1."""
    return torch.tensor(right, dtype=torch.int64)


def test_predict_is_the_class_with_the_largest_logit_whatever_the_batch():
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    for batch in (1, 3, 7, 500):
        assert torch.equal(predict(lambda x: x, logits, batch), logits.argmax(1))


def test_predict_keeps_no_gradient():
    seen = []
    predict(lambda x: (seen.append(torch.is_grad_enabled()), x)[1], torch.ones(2, 3))
    assert seen == [False]


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_accuracy_has_wilsons_interval(case):
    k, n = case
    labels = torch.ones(n, dtype=torch.int64)
    predictions = (torch.arange(n) < k).long()
    measured, expected = accuracy(predictions, labels), binomtest(k, n).proportion_ci(method="wilson")
    assert (measured.unit, measured.n) == ("%", n)
    assert (measured.value, measured.low, measured.high) == pytest.approx(
        (100 * k / n, 100 * expected.low, 100 * expected.high), abs=1e-5
    )


def test_agreement_is_accuracy_against_another_model():
    ours, theirs = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 0])
    assert agreement(ours, theirs).value == 75
    assert agreement(ours, theirs) == agreement(theirs, ours)


def test_every_token_of_every_text_is_an_observation():
    tokens = torch.ones(4, 25, dtype=torch.int64)  # (texts, tokens)
    assert accuracy(tokens, tokens) == accuracy(tokens.flatten(), tokens.flatten())
    assert accuracy_loss(tokens, tokens, tokens).n == 100


@pytest.mark.parametrize("n, m", [(3, 4), (0, 0)])
def test_predictions_and_labels_must_match(n, m):
    with pytest.raises(ValueError, match="as many predictions as labels"):
        accuracy(torch.zeros(n), torch.zeros(m))


def test_loss_is_positive_when_the_reference_was_better():
    ours, reference, labels = hits(1, 0, 0, 1), hits(1, 1, 1, 1), hits(1, 1, 1, 1)
    assert accuracy_loss(ours, reference, labels).value == 50
    assert accuracy_loss(reference, ours, labels).value == -50


def test_loss_equals_the_difference_of_the_two_accuracies():
    generator = torch.Generator().manual_seed(0)
    ours, reference, labels = torch.randint(0, 3, (3, 500), generator=generator)
    loss = accuracy_loss(ours, reference, labels)
    assert loss.value == pytest.approx(accuracy(reference, labels).value - accuracy(ours, labels).value)
    assert (loss.unit, loss.n) == ("points", 500)


def test_loss_interval_in_a_case_worked_by_hand():
    # 98 inputs: 7 lost, 1 won. With half an observation added to each cell: 7.5, 1.5 of 100, and so
    # 0.06 ± 1.959964 · sqrt(7.5 + 1.5 − 36 / 100) / 100.
    labels = torch.ones(98, dtype=torch.int64)
    ours, reference = torch.ones_like(labels), torch.ones_like(labels)
    ours[:7], reference[7:8] = 0, 0
    half = 1.959964 * math.sqrt(8.64)
    loss = accuracy_loss(ours, reference, labels)
    assert (loss.value, loss.low, loss.high) == pytest.approx((600 / 98, 6 - half, 6 + half))


def test_loss_of_a_model_against_itself_is_zero_with_an_interval_around_it():
    labels = torch.ones(100, dtype=torch.int64)
    loss = accuracy_loss(labels, labels, labels)
    assert loss.value == 0
    assert -loss.low == pytest.approx(loss.high)
    assert 0 < loss.high < 3


def test_loss_interval_covers_the_truth_in_95_of_100_samples():
    lost, won, n = 0.06, 0.03, 300
    draws = torch.rand(2000, n, generator=torch.Generator().manual_seed(0))
    labels = torch.ones(n, dtype=torch.int64)
    losses = [accuracy_loss((u >= lost).long(), ((u < lost) | (u >= lost + won)).long(), labels) for u in draws]
    covered = sum(loss.low <= 100 * (lost - won) <= loss.high for loss in losses) / len(losses)
    assert 0.935 <= covered <= 0.975


def test_paired_interval_is_tighter_than_two_side_by_side():
    u = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    labels = torch.ones(1000, dtype=torch.int64)
    reference, ours = (u < 0.92).long(), (u < 0.90).long()
    loss: Measurement = accuracy_loss(ours, reference, labels)
    apart = accuracy(reference, labels).high - accuracy(ours, labels).low
    assert loss.high < apart


# Perplexity


def predicts(logits: torch.Tensor):
    """A model that predicts the same, logits (vocabulary,), whatever comes in."""
    return lambda tokens: SimpleNamespace(logits=logits.expand(*tokens.shape, -1))


def test_to_know_nothing_is_a_perplexity_of_the_vocabulary():
    blocks = torch.arange(32).view(4, 8)
    measured = perplexity(block_losses(predicts(torch.zeros(50)), blocks))
    assert (measured.unit, measured.n) == ("", 4)
    assert (measured.low, measured.high) == (pytest.approx(50, rel=1e-5), pytest.approx(50, rel=1e-5))


def test_the_loss_of_a_block_is_that_of_its_tokens_but_the_first():
    logits = torch.randn(8, 50, generator=torch.Generator().manual_seed(0))
    block = torch.arange(10, 18)
    losses = block_losses(lambda tokens: SimpleNamespace(logits=logits[None]), block[None])
    assert losses.item() == pytest.approx(F.cross_entropy(logits[:7], block[1:]).item(), rel=1e-6)


def test_measuring_perplexity_keeps_no_gradient():
    seen = []
    model = predicts(torch.zeros(50))
    block_losses(lambda tokens: (seen.append(torch.is_grad_enabled()), model(tokens))[1], torch.zeros(1, 4).long())
    assert seen == [False]


def test_the_interval_of_a_perplexity_is_over_blocks():
    blocks = torch.tensor([[0, 0, 0], [1, 1, 1]])
    losses = block_losses(predicts(torch.tensor([0.0, math.log(4)])), blocks)
    measured, mean = perplexity(losses), mean_with_interval(losses.tolist(), "nats")
    assert measured.value == pytest.approx(5 / 2)  # probabilities 1/5 and 4/5: the root of 5 · 5/4
    assert (measured.low, measured.high) == (math.exp(mean.low), math.exp(mean.high))
    assert measured.method == "Student's t over blocks"


def test_blocks_of_one_source_count_once():
    losses = torch.tensor([1.0, 2.0, 3.0, 6.0])
    measured = loss_difference(losses, torch.zeros(4), ["a", "a", "a", "b"])
    assert (measured.value, measured.n, measured.method) == (4, 2, "Student's t over sources")


def test_every_block_has_a_source():
    with pytest.raises(ValueError, match="each block has a source, got 2 blocks and 1 sources"):
        perplexity(torch.zeros(2), ["a"])


def test_a_ratio_of_perplexities_is_not_blurred_by_how_hard_the_texts_are():
    hard_and_easy = torch.tensor([9.0, 1.0, 5.0], dtype=torch.float64)
    measured = perplexity_ratio(hard_and_easy + math.log(1.1), hard_and_easy)
    assert (measured.unit, measured.n) == ("×", 3)
    assert (measured.low, measured.high) == (pytest.approx(1.1), pytest.approx(1.1))


def test_a_ratio_is_that_of_the_perplexities():
    ours, theirs = torch.rand(2, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    measured = perplexity_ratio(ours, theirs)
    assert measured.value == pytest.approx(perplexity(ours).value / perplexity(theirs).value)
    assert measured.low < measured.value < measured.high


@pytest.mark.parametrize("shape", [(0, 8), (3, 1), (8,)])
def test_nothing_to_predict_is_an_error(shape):
    with pytest.raises(ValueError, match="two tokens or more"):
        block_losses(predicts(torch.zeros(50)), torch.zeros(shape, dtype=torch.long))


def test_losses_of_different_blocks_have_no_ratio():
    with pytest.raises(ValueError, match="4 and 3"):
        perplexity_ratio(torch.zeros(4), torch.zeros(3))


def test_what_comes_from_one_source_counts_once():
    ours, theirs = torch.tensor([1, 1, 1, 1, 5, 6]), torch.tensor([1, 1, 1, 1, 5, 0])
    measured = agreement_by_source(ours, theirs, ["cat"] * 4 + ["cup", "dog"])
    assert (measured.value, measured.n, measured.unit) == (pytest.approx(200 / 3), 3, "%")
    assert measured.decides and "sources" in measured.method


def test_the_order_of_inputs_does_not_matter_for_their_sources():
    ours, theirs, sources = torch.tensor([1, 2, 3, 4]), torch.tensor([1, 0, 3, 4]), ["a", "b", "b", "a"]
    flipped = agreement_by_source(ours.flip(0), theirs.flip(0), sources[::-1])
    assert flipped == agreement_by_source(ours, theirs, sources)


def test_every_input_has_a_source():
    with pytest.raises(ValueError, match="each input has a source, got 2 inputs and 1 sources"):
        agreement_by_source(torch.zeros(2), torch.zeros(2), ["cat"])


def test_the_mean_loss_over_runs_holds_the_spread_of_runs_and_images():
    labels = torch.ones(400, dtype=torch.int64)
    reference, runs = labels.clone(), []
    for wrong in (8, 12, 16):
        run = labels.clone()
        run[:wrong] = 0
        runs.append(run)
    mean = mean_accuracy_loss(runs, reference, labels)
    assert mean == mean_accuracy_loss(runs, [reference] * 3, labels)
    assert mean.value == pytest.approx(3) and mean.n == 3 and mean.decides
    narrowest = accuracy_loss(runs[1], reference, labels)
    assert mean.high - mean.low > narrowest.high - narrowest.low
    assert not mean_accuracy_loss(runs[:1], reference, labels).decides
    with pytest.raises(ValueError):
        mean_accuracy_loss(runs, [reference], labels)


# --- answers that are none ---

BROKEN = (math.nan, math.inf, -math.inf)


@pytest.mark.parametrize("number", BROKEN)
def test_logits_without_a_finite_largest_are_no_answer(number):
    with pytest.raises(ValueError, match="2 of 3 answers are not finite"):
        predict(lambda x: torch.where(x > 0, 1.0, number).expand(-1, 10), torch.tensor([[1.0], [0.0], [-1.0]]))


def test_a_class_may_be_ruled_out_by_minus_infinity():
    assert predict(lambda x: x, torch.tensor([[-math.inf, 0.0]])).tolist() == [1]


@pytest.mark.parametrize("answers", [torch.ones(3), torch.ones(2, 4), torch.ones(3, 0), torch.ones(3, 4, 5)])
def test_logits_of_another_shape_are_an_error(answers):
    with pytest.raises(ValueError, match=r"logits of 3 inputs are \(3, classes\), got"):
        predict(lambda x: answers, torch.ones(3, 2))


@pytest.mark.parametrize("layer", [nn.Dropout(0.1), nn.AlphaDropout(), nn.BatchNorm1d(2), nn.RReLU()])
def test_a_network_in_train_mode_is_refused_where_that_matters(layer):
    network = nn.Sequential(nn.Linear(2, 2), layer)
    with pytest.raises(ValueError, match=r"1 \(.*\) is in train mode: call model.eval\(\) first"):
        predict(network, torch.ones(3, 2))
    assert len(predict(network.eval(), torch.ones(3, 2))) == 3
    assert len(predict(nn.Linear(2, 2).train(), torch.ones(3, 2))) == 3


@pytest.mark.parametrize("losses", [[800.0, 801.0], [3.0, 1400.0]])
def test_a_perplexity_beyond_all_numbers_is_an_error(losses):
    losses = torch.tensor(losses)
    for measured in (lambda: perplexity(losses), lambda: perplexity_ratio(losses, torch.zeros(2))):
        with pytest.raises(ValueError, match="is no number any more: compare the losses themselves"):
            measured()


@pytest.mark.parametrize("losses", [[], [[1.0, 2.0]], [1.0, math.nan], [1.0, math.inf]])
def test_losses_that_are_none_have_no_perplexity(losses):
    with pytest.raises(ValueError, match="losses are"):
        perplexity(torch.tensor(losses))


def test_a_language_model_that_answers_nan_has_no_losses():
    with pytest.raises(ValueError, match="2 of 2 losses are not finite"):
        block_losses(lambda x: SimpleNamespace(logits=torch.full((1, 4, 9), math.nan)), torch.ones(2, 4).long())


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [1.0, math.inf]])
def test_values_that_are_none_or_not_finite_have_no_mean_and_no_median(values):
    for measured in (mean_with_interval, median_with_interval):
        with pytest.raises(ValueError, match="finite values of one of the .* or more are needed"):
            measured(values, "ms")


def test_nan_is_on_no_front():
    with pytest.raises(ValueError, match="a cost or a quality is NaN"):
        pareto_front([1.0, 2.0], [70.0, math.nan])
