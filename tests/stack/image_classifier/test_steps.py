"""A tiny classifier of Fashion-MNIST: files that load again after every admissible order, and what each step keeps."""

import copy
from collections import OrderedDict
from dataclasses import replace
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from labkit import measure, zoo
from labkit.measure import Measurement, Timings
from labkit.stack import Refused, Runner, Step, admit, orders
from labkit.stack.image_classifier.steps import distill, fold, half, prune, quantize, recover, share, thin
from labkit.stack.image_classifier.task import ImageClassifier
from labkit.techniques.distillation import soft_targets
from labkit.techniques.pruning.magnitude import prunable
from labkit.techniques.storage import deep_compression
from labkit.zoo import FashionModel, Origin, fashion_mnist_model
from models import apply, is_state, state_of, zeroed

BATCHNORM = frozenset({"BatchNorm"})
STEPS = (thin(0.25), prune(0.5), recover(2), distill(2), share(3), quantize(), fold(), half())
RETRAINING = {"recover": recover(2), "distill": distill(2)}
SETS = [
    (thin(0.25), prune(0.5), distill(2), share(3), half()),
    (thin(0.25), prune(0.5), recover(2), fold(), quantize(), half()),
]
BEGINNINGS = sorted(
    {order[:n] for steps in SETS for order in orders(steps, BATCHNORM) for n in range(len(order) + 1)}, key=str
)

retraining = pytest.mark.parametrize("retrain", RETRAINING.values(), ids=str)


def tiny_network() -> nn.Module:
    """Three convolutions with BatchNorm, one of them depthwise, for 8x8 grey pictures; shipped with 16 bits a
    weight.
    """
    torch.manual_seed(0)
    layers = OrderedDict()
    for name, (inputs, groups, kernel) in {"first": (1, 1, 3), "depthwise": (32, 32, 3), "point": (32, 1, 1)}.items():
        layers[name] = nn.Conv2d(inputs, 32, kernel, padding=kernel // 2, groups=groups, bias=False)
        layers[f"{name}_norm"] = norm = nn.BatchNorm2d(32)
        for tensor, spread in ((norm.weight, 0.3), (norm.running_var, 0.3), (norm.bias, 0.1), (norm.running_mean, 0.1)):
            tensor.data += spread * (torch.rand(32) - 0.5)
        layers[f"{name}_relu"] = nn.ReLU()
    layers |= {"pool": nn.AdaptiveAvgPool2d(2), "flatten": nn.Flatten(), "last": nn.Linear(4 * 32, 10)}
    return nn.Sequential(layers).half().float().eval()


def tiny_model(name: str) -> FashionModel:
    return FashionModel(tiny_network(), Origin(name, "embedded", "MIT", ""), size=8, channels=1, scores={})


@pytest.fixture(scope="module")
def tiny_task() -> ImageClassifier:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "fashion_mnist_model", tiny_model)
        return ImageClassifier("tiny", test_images=100, source="embedded")


@pytest.fixture
def task(tiny_task) -> ImageClassifier:
    """A task to change, of which no latency is known."""
    fresh = copy.copy(tiny_task)
    fresh.latencies = {}
    return fresh


@pytest.fixture(scope="module")
def models(tiny_task) -> Runner:
    """The models after the steps, each step run once."""
    return Runner(tiny_task, kept_models=10**6)


@pytest.fixture
def timed(monkeypatch) -> list[tuple[str, ...]]:
    """Who was timed against whom; the first takes three times as long."""
    calls = []

    def time_in_turn(functions, rounds=30, **options):
        with torch.no_grad():
            assert len({function().shape for function in functions.values()}) == 1
        calls.append(tuple(functions))
        return Timings({name: torch.full((rounds,), 3.0 - 2 * i).numpy() for i, name in enumerate(functions)})

    monkeypatch.setattr(measure, "time_in_turn", time_in_turn)
    return calls


def written(steps: tuple[Step, ...]) -> str:
    return ", ".join(map(str, steps)) or "start"


def facts_of(steps: tuple[Step, ...]) -> frozenset[str]:
    return [BATCHNORM, *admit(steps, BATCHNORM)][-1]


@torch.no_grad()
def logits(model: nn.Module, task: ImageClassifier) -> torch.Tensor:
    return model(task.inputs)


def zeros(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight == 0 for name, weight in prunable(model).items()}


# The file


@pytest.mark.parametrize("steps", BEGINNINGS, ids=written)
def test_a_file_loads_again_bit_for_bit(models, steps, tmp_path):
    task, model, facts = models.task, models.model(steps), facts_of(steps)
    before = state_of(model)
    path = task.save(model, facts, tmp_path / "model.dc")
    loaded = task.load(path, zeroed(model), facts)
    assert is_state(model, before) and is_state(loaded, before)
    assert torch.equal(logits(loaded, task), logits(model, task))
    assert logits(loaded, task).isfinite().all() and not loaded.training


def test_a_file_of_another_architecture_is_refused(models, tmp_path):
    path = models.task.save(models.model(()), BATCHNORM, tmp_path / "model.dc")
    for steps, wrong in (
        ((fold(),), "the (model|file) has '.*', the .* does not"),
        ((thin(0.25),), "is .* in the file"),
    ):
        with pytest.raises(ValueError, match=wrong):
            models.task.load(path, models.model(steps), BATCHNORM)
    with pytest.raises(ValueError, match="float32 in the file and .*float16"):
        models.task.load(path, models.model((half(),)), facts_of((half(),)))


# The start


def test_what_was_cut_off_is_filled_with_digits_that_change_each_weight_by_less_than_its_last_bit():
    shipped = fashion_mnist_model("lenet_5").model
    start = ImageClassifier("lenet_5", test_images=10, source="embedded").start()
    for was, now in zip(shipped.parameters(), start.parameters(), strict=True):
        assert ((now - was).abs() <= was.abs() * 2**-11).all()
        assert (now != was).float().mean() > 0.9
        assert torch.equal(now.half().float(), was)
        assert len(now.unique()) > 0.9 * now.numel() or now.numel() < 100


def test_the_start_is_the_same_at_every_call_and_a_copy_each_time(task):
    first, second = task.start(), task.start()
    torch.rand(3)
    assert is_state(first, state_of(second)) and is_state(task.start(), state_of(first))
    zero = state_of(zeroed(first))
    first.load_state_dict(zero)
    assert not is_state(second, zero) and not is_state(task.pretrained.model, zero)


def test_rounding_the_start_gives_the_shipped_answers():
    task = ImageClassifier("lenet_5", test_images=500, source="embedded")
    shipped = task.predictions(fashion_mnist_model("lenet_5").model)
    assert torch.equal(task.predictions(apply(task, half())), shipped)
    assert (task.predictions(task.start()) == shipped).float().mean() >= 0.99
    assert measure.accuracy(shipped, task.labels).value > 80


def test_what_is_known_of_a_network_is_whether_it_has_batchnorm(task):
    assert task.facts == BATCHNORM
    assert ImageClassifier("lenet_5", test_images=10, source="embedded").facts == frozenset()


def test_the_name_says_what_was_measured_on_how_much(task):
    assert task.name == "tiny, 100 test pictures, 12,000 for training"


# Batches


def test_batches_are_the_same_for_one_seed_and_others_for_another(task):
    def first(seed):
        return [tensor for (inputs, labels), _ in zip(task.batches(seed), range(3)) for tensor in (inputs, labels)]

    assert all(torch.equal(a, b) for a, b in zip(first(5), first(5), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first(5), first(6), strict=True))
    assert not torch.equal(first(5)[0], first(5)[2])


def test_a_batch_has_training_pictures_as_the_network_takes_them_with_their_labels(task):
    labels = task.training.labels
    task.training = replace(task.training, images=(25 * labels[:, None, None]).expand(-1, 28, 28).to(torch.uint8))
    inputs, drawn = next(task.batches(0))
    assert inputs.shape == (64, 1, 8, 8) and inputs.is_contiguous(memory_format=torch.channels_last)
    expected = zoo.to_input((25 * drawn[:, None, None]).expand(-1, 28, 28).to(torch.uint8), 8, 1)
    torch.testing.assert_close(inputs, expected)
    assert len(drawn.unique()) == 10


# Measuring


def test_a_row_has_five_metrics_with_their_units(task, timed):
    row = task.measure(task.start(), BATCHNORM)
    units = {"file": "bytes", "smaller": "×", "accuracy": "%", "lost": "points", "latency": "×"}
    assert {metric: m.unit for metric, m in row.items()} == units
    assert row["accuracy"].n == row["lost"].n == 100


def test_the_start_loses_nothing(task, timed):
    lost = task.measure(task.start(), BATCHNORM)["lost"]
    assert lost.value == 0 and lost.low < 0 < lost.high


@pytest.mark.parametrize("steps", [(), (prune(0.5), share(3), half()), (thin(0.25), fold(), quantize())], ids=written)
def test_the_file_is_the_one_that_loads_again_and_is_compared_to_four_bytes_a_parameter_as_shipped(
    models, task, timed, steps, tmp_path
):
    model, facts = models.model(steps), facts_of(steps)
    row, file = task.measure(model, facts), task.save(model, facts, tmp_path / "model.dc")
    assert row["file"] == Measurement.exact(file.stat().st_size, "bytes")
    whole = 4 * sum(p.numel() for p in task.pretrained.model.parameters())
    assert row["smaller"].value == whole / row["file"].value
    assert row["accuracy"] == measure.accuracy(logits(model, task).argmax(1), task.labels)


def test_what_is_lost_is_the_accuracy_of_the_start_less_that_of_the_model(models, task, timed):
    predictions = logits(task.start(), task).argmax(1)
    task.labels = predictions.clone()  # so that the start is always right
    steps = (prune(0.5), share(3))
    row = task.measure(models.model(steps), facts_of(steps))
    assert row["lost"].value == pytest.approx(100 - row["accuracy"].value) and row["lost"].value > 0


def test_the_file_of_the_start_has_32_bits_a_weight_and_half_of_that_when_it_is_rounded(tmp_path):
    task = ImageClassifier("lenet_5", test_images=10, source="embedded")
    models = {"shipped": task.pretrained.model, "start": task.start(), "rounded": apply(task, half())}
    facts = {"rounded": frozenset({"16-bit weights"})}
    size = {
        name: task.save(model, facts.get(name, task.facts), tmp_path / "model.dc").stat().st_size
        for name, model in models.items()
    }
    whole = 4 * sum(p.numel() for p in task.pretrained.model.parameters())
    assert size["start"] > whole > 1.9 * size["shipped"]
    assert size["rounded"] < 0.5 * size["start"]


@pytest.mark.parametrize("steps", [(), (prune(0.5), quantize(), half()), (fold(),)], ids=written)
def test_measuring_changes_neither_the_model_nor_what_is_measured_next(models, task, timed, steps):
    model, facts = apply(task, *steps), facts_of(steps)
    before, kinds = state_of(model), [type(module) for module in model.modules()]
    first = task.measure(model, facts)
    assert is_state(model, before) and [type(module) for module in model.modules()] == kinds
    assert task.measure(model, facts) == first
    assert is_state(task.pretrained.model, state_of(tiny_network()))


# Latency


def test_latency_is_timed_once_for_one_architecture(models, task, timed):
    for steps in ((), (prune(0.5),), (prune(0.5), share(3)), (quantize(),), (recover(2), half())):
        latency = task.latency(models.model(steps))
        assert (latency.value, latency.unit, latency.n) == (3, "×", 30)
    assert timed == [("model", "trained")]
    task.latency(models.model((thin(0.25),)))
    task.latency(models.model((thin(0.25), quantize())))
    assert len(timed) == 2
    task.latency(models.model((fold(),)))
    task.latency(models.model((prune(0.5), fold(), quantize())))
    assert len(timed) == 3
    task.latency(models.model((thin(0.25), fold())))
    assert len(timed) == 4 == len(task.latencies)


def test_latency_is_taken_from_those_that_are_known(models, task, timed, monkeypatch):
    monkeypatch.setattr(zoo, "fashion_mnist_model", tiny_model)
    task.latency(models.model(()))
    known = {key: Measurement(0.5, 0.4, 0.6, "×", 7) for key in task.latencies}
    other = ImageClassifier("tiny", 50, "embedded", latencies=known)
    assert other.measure(models.model((quantize(),)), facts_of((quantize(),)))["latency"].value == 0.5
    assert len(timed) == 1
    other.latency(models.model((fold(),)))
    assert len(timed) == 2 == len(known)


def test_latency_by_the_clock(models, task):
    latency = task.latency(models.model((prune(0.5), quantize())))
    assert latency.unit == "×" and latency.n == 30 and 0.2 < latency.value < 5


# Refusals

NO_GRADIENT = "a model with integers: they have no gradient; retrain first, and quantize then"
FOLD_AT_THE_END = "needs a model with BatchNorm: without it training does not settle; fold it at the end"
ROUND_AT_THE_END = "a model with 16-bit weights: it would make them 32 bits again; round at the end"
REFUSED = {
    (quantize(), recover(2)): NO_GRADIENT,
    (quantize(), distill(2)): NO_GRADIENT,
    (quantize(), thin(0.25)): "a model with integers",
    (quantize(), fold()): "a model with integers",
    (quantize(), share(3)): "a model with integers: they share few values already",
    (quantize(), quantize()): "a model with integers: they are quantized already",
    (fold(), recover(2)): FOLD_AT_THE_END,
    (fold(), distill(2)): FOLD_AT_THE_END,
    (fold(), fold()): "needs a model with BatchNorm: there is none to fold",
    (share(3), share(3)): "a model with codebooks: they are shared already",
    (share(3), quantize()): "a model with codebooks: few values would become many",
    (share(3), thin(0.25)): "a model with codebooks: too few weights would be left for each",
    (share(3), fold()): "a model with codebooks: a factor for every channel makes many values of few",
    (half(), half()): "a model with 16-bit weights: they are rounded already",
    **{(half(), step): ROUND_AT_THE_END for step in STEPS[:-1]},
}


@pytest.mark.parametrize("steps", REFUSED, ids=written)
def test_a_step_that_would_undo_another_is_refused_and_the_reason_given(steps):
    with pytest.raises(Refused) as error:
        admit(steps, BATCHNORM)
    message = str(error.value)
    assert message.startswith(str(steps[1])) and message.endswith(f"(after {steps[0]})")
    assert REFUSED[steps] in message


def test_whatever_is_not_refused_can_be_run(models):
    for steps in product(STEPS, repeat=2):
        if steps not in REFUSED:
            assert logits(models.model(steps), models.task).isfinite().all()


# Thinning


def test_thinning_removes_this_share_of_the_channels_and_of_the_last_layer_only_inputs(models):
    shapes = {name: tuple(weight.shape) for name, weight in prunable(models.model((thin(0.25),))).items()}
    assert shapes == {
        "first.weight": (24, 1, 3, 3),
        "depthwise.weight": (24, 1, 3, 3),
        "point.weight": (24, 24, 1, 1),
        "last.weight": (10, 96),
    }


def test_thinning_leaves_its_input_as_it_was(task):
    model = task.start()
    before = state_of(model)
    thin(0.25).apply(model, task, 0)
    assert is_state(model, before)


# Pruning


@pytest.mark.parametrize("rule", ["global", "layer", "lamp"])
def test_pruning_sets_this_share_of_the_weights_to_zero_and_measures_batchnorm_again(task, rule):
    start, model = task.start(), apply(task, prune(0.7, rule))
    dropped, weights = zeros(model), prunable(start)
    n = sum(weight.numel() for weight in weights.values())
    assert abs(sum(mask.sum().item() for mask in dropped.values()) - 0.7 * n) <= 2
    shares = [mask.float().mean().item() for mask in dropped.values()]
    assert (max(shares) - min(shares) < 0.01) == (rule == "layer")
    for name, weight in prunable(model).items():
        assert torch.equal(weight, weights[name].masked_fill(dropped[name], 0))
    old, new = start.point_norm, model.point_norm
    assert not torch.equal(old.running_mean, new.running_mean) and torch.equal(old.weight, new.weight)
    assert new.num_batches_tracked == 8 and not model.training


def test_pruning_integers_leaves_integers_with_zeros_in_them(task):
    whole = apply(task, quantize())
    model = apply(task, prune(0.7), model=whole)
    q = model.point.parametrizations.weight.original0
    assert q.dtype == torch.int8
    kept = prunable(model)["point.weight"] != 0
    assert 0 < kept.float().mean() < 0.7 and torch.equal(q != 0, kept)
    torch.testing.assert_close(model.point.weight[kept], whole.point.weight[kept], rtol=1e-5, atol=0)


# Retraining


@retraining
def test_retraining_keeps_zeros_and_changes_everything_else(models, retrain):
    before, after = models.model((prune(0.5),)), models.model((prune(0.5), retrain))
    assert all(torch.equal(mask, zeros(after)[name]) for name, mask in zeros(before).items())
    trained = dict(after.named_parameters())
    for name, weight in before.named_parameters():
        assert (weight != trained[name])[weight != 0].float().mean() > 0.9, name
    assert not after.training


@retraining
def test_retraining_with_one_seed_is_one_training(task, retrain):
    first = state_of(apply(task, prune(0.5), retrain, seed=3))
    assert is_state(apply(task, prune(0.5), retrain, seed=3), first)
    assert not is_state(apply(task, prune(0.5), retrain, seed=4), first)


def test_training_on_lowers_the_loss(task):
    def loss(model):
        inputs, labels = zip(*(batch for batch, _ in zip(task.batches(99), range(4))))
        with torch.no_grad():
            return F.cross_entropy(model(torch.cat(inputs)), torch.cat(labels)).item()

    assert loss(apply(task, recover(30))) < 0.95 * loss(task.start())


def test_recovering_learns_from_labels_and_distilling_from_the_answers_of_the_start_as_well(task, monkeypatch):
    seen, loss = [], soft_targets.distillation_loss
    monkeypatch.setattr(soft_targets, "distillation_loss", lambda *a: seen.append(a[1]) or loss(*a))
    apply(task, prune(0.5), recover(1), seed=7)
    assert seen == []
    apply(task, prune(0.5), distill(1), seed=7)
    ((answers, labels),) = seen
    inputs, expected = next(task.batches(7))
    assert torch.equal(labels, expected)
    torch.testing.assert_close(answers, task.start()(inputs))


# Sharing


@pytest.mark.parametrize("bits", [1, 3, 5])
@pytest.mark.parametrize("pruned", [(), (prune(0.5),)], ids=["dense", "pruned"])
def test_sharing_leaves_at_most_so_many_values_a_layer_zero_included(task, bits, pruned):
    before = apply(task, *pruned)
    model = apply(task, share(bits), model=before)
    for name, weight in prunable(model).items():
        assert len({*weight.flatten().tolist(), 0.0}) <= 2**bits, name
    assert all(torch.equal(mask, zeros(model)[name]) for name, mask in zeros(before).items())


@retraining
@pytest.mark.parametrize("pruned", [(), (prune(0.5),)], ids=["dense", "pruned"])
def test_retraining_after_sharing_moves_the_centroids_and_nothing_else(models, retrain, pruned):
    before, after = models.model((*pruned, share(3))), models.model((*pruned, share(3), retrain))
    now, moved = prunable(after), 0
    for name, weight in prunable(before).items():
        values, codes = weight.flatten().unique(return_inverse=True)
        places = [now[name].flatten()[codes == code] for code in range(len(values))]
        assert all(len(place.unique()) == 1 for place in places), name  # what shared a value still shares one
        assert len(now[name].unique()) == len(values) <= 8
        assert torch.equal(weight == 0, now[name] == 0)
        moved += sum(place[0] != value for place, value in zip(places, values))
    assert moved > 16
    others = {name: p for name, p in before.named_parameters() if name not in now}
    assert len(others) == 7 and all(torch.equal(p, after.get_parameter(name)) for name, p in others.items())


@retraining
def test_pruned_after_sharing_the_values_are_shared_still(models, retrain):
    shared, model = models.model((share(3),)), models.model((share(3), prune(0.5), retrain))
    for name, weight in prunable(model).items():
        assert len(weight.unique()) <= 8
        assert (weight == 0).any() and (prunable(shared)[name] != 0).all()


def test_a_layer_of_which_nothing_is_left_is_neither_shared_nor_brought_back(task):
    empty = task.start()
    empty.depthwise.weight.data.zero_()
    for steps in ((share(3), recover(2)), (recover(2), share(3)), (prune(0.5), share(3), distill(2), half())):
        model = apply(task, *steps, model=empty)
        assert not model.depthwise.weight.any() and logits(model, task).isfinite().all()
        assert model.point.weight.any()


# Integers


def test_quantizing_holds_every_layer_in_8_bits_and_changes_it_by_half_a_step_at_most(models):
    start, model = models.model(()), models.model((quantize(),))
    for name, weight in prunable(model).items():
        module = model.get_submodule(name.removesuffix(".weight"))
        assert parametrize.is_parametrized(module, "weight")
        step = prunable(start)[name].abs().flatten(1).amax(1) / 127
        worst = (weight - prunable(start)[name]).abs().flatten(1).amax(1)
        assert (worst <= 0.501 * step).all()
    kinds = {t.dtype for name, t in model.state_dict().items() if name.endswith("original0")}
    assert kinds == {torch.int8}


def test_quantizing_keeps_zeros(models):
    before, after = models.model((prune(0.5),)), models.model((prune(0.5), quantize()))
    for name, mask in zeros(before).items():
        assert zeros(after)[name][mask].all()


# Folding


@pytest.mark.parametrize("steps", [(), (prune(0.5), recover(2)), (thin(0.25),)], ids=written)
def test_folding_computes_the_same_without_batchnorm(models, task, steps):
    before, after = models.model(steps), models.model((*steps, fold()))
    torch.testing.assert_close(logits(after, task), logits(before, task), rtol=1e-5, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in after.modules())
    assert "BatchNorm" not in facts_of((*steps, fold()))
    assert all(torch.equal(mask, zeros(after)[name]) for name, mask in zeros(before).items())


def test_folding_reaches_into_blocks_and_leaves_a_norm_that_follows_no_convolution(task):
    torch.manual_seed(0)
    block = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    model = nn.Sequential(nn.Sequential(nn.BatchNorm2d(1), block), nn.BatchNorm2d(4)).eval()
    for norm in (block[1], model[0][0], model[1]):
        norm.running_mean.uniform_(-1, 1)
    x = torch.randn(2, 1, 8, 8)
    expected = model(x)
    folded = fold().apply(model, task, 0)
    torch.testing.assert_close(folded(x), expected, rtol=1e-5, atol=1e-5)
    assert [type(m) for m in folded.modules() if isinstance(m, nn.BatchNorm2d | nn.Identity)] == [
        nn.BatchNorm2d,
        nn.Identity,
        nn.BatchNorm2d,
    ]


# 16 bits


@pytest.mark.parametrize("steps", [(), (prune(0.5), share(3)), (quantize(),), (fold(),)], ids=written)
def test_half_rounds_whatever_is_no_integer_and_the_file_has_16_bits_for_it(models, task, steps, tmp_path):
    before, after = models.model(steps), models.model((*steps, half()))
    for name, tensor in after.state_dict().items():
        was = before.state_dict()[name]
        assert tensor.dtype == was.dtype
        assert torch.equal(tensor, was.half().float() if was.is_floating_point() else was), name
    files = [
        task.save(model, facts, tmp_path / f"{len(facts)}.dc")
        for model, facts in ((before, facts_of(steps)), (after, facts_of((*steps, half()))))
    ]
    assert files[1].stat().st_size < files[0].stat().st_size
    kinds = {entry.dtype for entry in deep_compression.contents(files[1])}
    assert torch.float16 in kinds and torch.float32 not in kinds
