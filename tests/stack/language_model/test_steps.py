"""A tiny Llama, its last layer tied to the embedding or not: files that load again after every order of steps."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize
from transformers import LlamaConfig, LlamaForCausalLM

from labkit import measure, zoo
from labkit.measure import Measurement, Timings
from labkit.stack import Refused, Runner, Step, admit, orders
from labkit.stack.language_model.steps import cut, lora, prune, quantize
from labkit.stack.language_model.task import LanguageModelling, linear_layers
from labkit.techniques.pruning import wanda
from labkit.techniques.quantization import packed
from labkit.techniques.storage import safetensors
from labkit.zoo import Corpus, LanguageModel, Origin
from models import apply, is_state, state_of, zeroed

LAYERS, LENGTH, VOCABULARY = 3, 12, 50
HERE = Origin("tiny", "package", "MIT", "")
PRUNED = {by: prune(0.3, by) for by in ("wanda", "magnitude")}
QUANTIZED = {kind: quantize(kind) for kind in ("int8", "nf4")}
SETS = {
    "tied": [
        (cut(1), prune(0.3, "wanda"), quantize("nf4"), lora(2, 2)),
        (prune(0.3, "magnitude"), quantize("int8"), lora(2, 2)),
    ],
    "untied": [(prune(0.3, "wanda"), quantize("nf4"), lora(2, 2))],
}
BEGINNINGS = [
    (head, steps)
    for head, sets in SETS.items()
    for steps in sorted({order[:n] for each in sets for order in orders(each, frozenset()) for n in range(5)}, key=str)
]

heads = pytest.mark.parametrize("head", ["tied", "untied"])
kinds = pytest.mark.parametrize("kind", ["int8", "nf4"])
rules = pytest.mark.parametrize("by", ["wanda", "magnitude"])


def written(steps: tuple[Step, ...]) -> str:
    return ", ".join(map(str, steps)) or "start"


def tiny_llama(tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=LAYERS, vocab_size=VOCABULARY)
    many = dict(num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64)
    model = LlamaForCausalLM(LlamaConfig(**sizes, **many, initializer_range=0.1, tie_word_embeddings=tied)).eval()
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.data += 0.2 * torch.randn_like(weight)
    return model


def counting(text: str, tokenizer: object, length: int) -> torch.Tensor:
    """Blocks that count upwards in steps of one or more, which can be learned."""
    n, seed = {"to train on": (40, 0), "held out": (8, 1)}[text]
    generator = torch.Generator().manual_seed(seed)
    starts, steps = torch.randint(VOCABULARY, (2, n, 1), generator=generator)
    return (starts + (1 + steps % 3) * torch.arange(length)) % VOCABULARY


@pytest.fixture(scope="module")
def tiny_tasks() -> dict[str, LanguageModelling]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "documentation_corpus", lambda: Corpus("to train on", "held out", HERE, {"all": 0}))
        patch.setattr(zoo, "blocks", counting)
        patch.setattr(zoo, "block_topics", lambda corpus, tokenizer, length: list("aaabbcdd"))
        tasks = {}
        for head in SETS:
            model = tiny_llama(tied=head == "tied")
            patch.setattr(zoo, "language_model", lambda source: LanguageModel(model, HERE, tokenizer=None))
            tasks[head] = LanguageModelling(held_out_blocks=6, length=LENGTH)
        return tasks


@pytest.fixture(scope="module")
def all_models(tiny_tasks) -> dict[str, Runner]:
    return {head: Runner(task, kept_models=10**6) for head, task in tiny_tasks.items()}


@pytest.fixture(params=["tied"])
def head(request) -> str:
    """Of tests that are not run with both."""
    return request.param


@pytest.fixture
def task(tiny_tasks, head) -> LanguageModelling:
    """A task to change, of which no latency is known."""
    fresh = copy.copy(tiny_tasks[head])
    fresh.latencies = {}
    return fresh


@pytest.fixture
def models(all_models, head) -> Runner:
    """The models after the steps, each step run once."""
    return all_models[head]


@pytest.fixture
def timed(monkeypatch) -> list[tuple[str, ...]]:
    """Who was timed against whom; the first takes half as long."""
    calls = []

    def time_in_turn(functions, rounds=30, **options):
        with torch.no_grad():
            assert {function().logits.shape for function in functions.values()} == {(1, LENGTH, VOCABULARY)}
        calls.append(tuple(functions))
        return Timings({name: torch.full((rounds,), 1.0 + i).numpy() for i, name in enumerate(functions)})

    monkeypatch.setattr(measure, "time_in_turn", time_in_turn)
    return calls


@torch.no_grad()
def logits(model: nn.Module, task: LanguageModelling) -> torch.Tensor:
    return model(task.held_out).logits


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: module.weight.detach() for name, module in linear_layers(model).items()}


def bases(model: nn.Module) -> dict[str, torch.Tensor]:
    """The weights that the grids hold, without the adapters beside them."""
    held = {name: module.parametrizations.weight for name, module in linear_layers(model).items()}
    return {
        name: each[0](*(getattr(each, f"original{i}") for i in range(each.ntensors))) for name, each in held.items()
    }


def are_rounded(*tensors: torch.Tensor) -> bool:
    return all(torch.equal(tensor, tensor.half().float()) for tensor in tensors)


# The file


@pytest.mark.parametrize(
    ("head", "steps"), BEGINNINGS, ids=lambda each: each if isinstance(each, str) else written(each)
)
def test_a_file_loads_again_bit_for_bit(models, steps, tmp_path):
    task, model = models.task, models.model(steps)
    before = state_of(model)
    path = task.save(model, tmp_path / "model.safetensors.zst")
    loaded = task.load(path, zeroed(model))
    assert is_state(model, before) and is_state(loaded, before)
    assert torch.equal(logits(loaded, task), logits(model, task))
    assert logits(loaded, task).isfinite().all()


@heads
def test_the_file_of_the_start_makes_the_start_of_the_model_as_it_was_trained(models, head, tmp_path):
    task = models.task
    path = task.save(models.model(()), tmp_path / "model.safetensors.zst")
    assert torch.equal(logits(task.load(path, task.pretrained.model), task), logits(models.model(()), task))


FORMS = {
    "plain": (),
    "int8": (quantize("int8"),),
    "nf4": (quantize("nf4"),),
    "cut": (cut(1),),
    "adapters": (quantize("nf4"), lora(2, 2)),
    "more adapters": (quantize("nf4"), lora(3, 2)),
}


@pytest.mark.parametrize("like", FORMS)
@pytest.mark.parametrize("file", FORMS)
def test_a_file_loads_into_its_own_form_and_no_other(models, file, like, tmp_path):
    task, model = models.task, models.model(FORMS[like])
    path, before = task.save(models.model(FORMS[file]), tmp_path / "model.safetensors.zst"), state_of(model)
    if file == like:
        assert is_state(task.load(path, model), before)
        return
    with pytest.raises(ValueError, match="model.safetensors.zst and the model differ in the form of '.*load it into"):
        task.load(path, model)
    assert is_state(model, before)


def test_a_file_of_a_model_with_a_head_of_its_own_does_not_load_where_it_is_tied_nor_the_reverse(all_models, tmp_path):
    for file, like in (("tied", "untied"), ("untied", "tied")):
        path = all_models[file].task.save(all_models[file].model(()), tmp_path / "model.safetensors.zst")
        with pytest.raises(ValueError, match="'lm_head.weight'"):
            all_models[like].task.load(path, all_models[like].model(()))


def test_a_damaged_file_is_refused(models, tmp_path):
    path = models.task.save(models.model(()), tmp_path / "model.safetensors.zst")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        models.task.load(path, models.model(()))


@pytest.mark.parametrize(("head", "names"), [("tied", 1), ("untied", 2)])
@pytest.mark.parametrize("steps", [(), (prune(0.3),), (lora(2, 2),)], ids=written)
def test_the_file_has_a_tied_weight_once_and_16_bits_for_every_number(models, head, names, steps, tmp_path):
    path = models.task.save(models.model(steps), tmp_path / "model.safetensors")
    stored = safetensors.load_weights(path)
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    large = [name for name, tensor in stored.items() if tensor.shape == (VOCABULARY, 64)]
    assert large == ["lm_head.weight", "model.embed_tokens.weight"][-names:]
    assert sum(tensor.numel() for tensor in stored.values()) == measure.parameters(models.task.pretrained.model).value


@heads
@kinds
def test_the_file_of_integers_has_them_their_constants_and_16_bits_for_the_norms(models, head, kind, tmp_path):
    path = models.task.save(models.model((QUANTIZED[kind],)), tmp_path / "model.safetensors")
    stored = safetensors.load_weights(path)
    assert {t.dtype for name, t in stored.items() if "norm" in name} == {torch.float16}
    integers = {t.dtype for name, t in stored.items() if name.endswith("original0")}
    assert integers == ({torch.int8} if kind == "int8" else {torch.int8, torch.uint8})
    constants = {t.dtype for name, t in stored.items() if name[-9:-1] == "original" and name[-1] != "0"}
    assert constants == ({torch.float32} if kind == "int8" else {torch.uint8, torch.float32})
    assert not any(name.endswith("proj.weight") or "lm_head.weight" in name for name in stored)


def test_steps_make_the_file_smaller(models, tmp_path):
    def size(*steps):
        return models.task.save(models.model(steps), tmp_path / "model.safetensors.zst").stat().st_size

    assert size() < 0.55 * 4 * measure.parameters(models.task.pretrained.model).value
    assert size(quantize("nf4")) < size(quantize("int8")) < size()
    assert size(cut(1)) < size() > size(prune(0.3))
    assert size(quantize("nf4")) < size(quantize("nf4"), lora(2, 2)) < size()


# The start


@heads
def test_the_start_has_weights_of_16_bits_and_the_frequencies_of_the_model_as_it_was_trained(task, head):
    trained, start = task.pretrained.model, task.start()
    for name, weight in trained.named_parameters():
        assert torch.equal(start.get_parameter(name), weight.half().float()) and not torch.equal(weight.half(), weight)
    assert all(torch.equal(start.get_buffer(name), buffer) for name, buffer in trained.named_buffers())
    assert (start.lm_head.weight is start.model.embed_tokens.weight) == (head == "tied")
    assert {tensor.dtype for tensor in start.state_dict().values()} == {torch.float32}


def test_the_start_is_a_copy_each_time(task):
    first, second = task.start(), task.start()
    before = state_of(second)
    first.load_state_dict(state_of(zeroed(first)))
    assert is_state(second, before) and is_state(task.start(), before)


def test_the_name_says_what_was_measured_on_how_much(task):
    assert task.name == "language model from package, 6 held-out blocks of 12 tokens from 3 topics, 40 for training"
    assert task.facts == frozenset()


def test_batches_are_the_same_for_one_seed_and_every_block_comes_once_before_any_comes_again(task):
    def first(seed, n=40):
        return torch.cat([batch for batch, _ in zip(task.batches(seed), range(n))])

    assert next(task.batches(0)).shape == (2, LENGTH)
    assert torch.equal(first(3), first(3)) and not torch.equal(first(3), first(4))
    epochs = first(3).view(2, 40, LENGTH)
    assert not torch.equal(epochs[0], epochs[1])
    for epoch in epochs:
        assert sorted(epoch.tolist()) == sorted(task.training.tolist())


# Measuring


def topic_mean(model, task) -> float:
    """Nats a token, topics counting once: three blocks of the first, two of the second, one of the third."""
    losses = F.cross_entropy(logits(model, task)[:, :-1].transpose(1, 2), task.held_out[:, 1:], reduction="none")
    first, second, third = losses.mean(dim=1).split([3, 2, 1])
    return ((first.mean() + second.mean() + third.mean()) / 3).item()


def test_of_a_long_topic_the_first_blocks_are_held_out(task, monkeypatch):
    assert task.topics == list("aaabbc")
    monkeypatch.setattr(zoo, "documentation_corpus", lambda: Corpus("to train on", "held out", HERE, {"all": 0}))
    monkeypatch.setattr(zoo, "blocks", counting)
    monkeypatch.setattr(zoo, "block_topics", lambda corpus, tokenizer, length: list("aaaabacc"))
    monkeypatch.setattr(zoo, "language_model", lambda source: task.pretrained)
    short = LanguageModelling(blocks_of_a_topic=2, length=LENGTH)
    assert short.topics == list("aabcc")
    assert torch.equal(short.held_out, counting("held out", None, LENGTH)[[0, 1, 4, 6, 7]])


@heads
def test_a_row_has_five_metrics_with_their_units(task, timed, head, tmp_path):
    model = apply(task, prune(0.3))
    row, file = task.measure(model, frozenset()), task.save(model, tmp_path / "model.safetensors.zst")
    units = {"file": "bytes", "smaller": "×", "perplexity": "", "lost": "nats", "latency": "×"}
    assert {metric: m.unit for metric, m in row.items()} == units
    assert row["file"] == Measurement.exact(file.stat().st_size, "bytes")
    parameters = sum(p.numel() for p in task.pretrained.model.parameters())
    assert row["smaller"].value == 2 * parameters / row["file"].value
    expected, start = topic_mean(model, task), topic_mean(task.start(), task)
    assert math.log(row["perplexity"].value) == pytest.approx(expected, rel=1e-5)
    assert row["lost"].value == pytest.approx(expected - start, abs=1e-5)
    assert row["perplexity"].n == row["lost"].n == 3 and row["latency"].value == 0.5


@heads
def test_the_start_loses_nothing(task, timed, head):
    lost = task.measure(task.start(), frozenset())["lost"]
    assert (lost.value, lost.low, lost.high) == (0, 0, 0)


@heads
@pytest.mark.parametrize("steps", [(), (quantize("nf4"), lora(2, 2)), (cut(1), quantize("int8"))], ids=written)
def test_measuring_changes_neither_the_model_nor_what_is_measured_next(models, task, timed, head, steps):
    model, pretrained = models.model(steps), state_of(task.pretrained.model)
    before, kinds = state_of(model), [type(module) for module in model.modules()]
    first = task.measure(model, frozenset())
    assert is_state(model, before) and [type(module) for module in model.modules()] == kinds
    assert task.measure(model, frozenset()) == first
    assert is_state(task.pretrained.model, pretrained) and len(task.pretrained.model.model.layers) == LAYERS


@kinds
def test_weights_that_are_unpacked_once_for_all_blocks_are_those_that_are_unpacked_every_time(models, kind):
    model = models.model((QUANTIZED[kind], lora(2, 2)))
    assert torch.equal(models.task.losses(model), measure.block_losses(model, models.task.held_out))


def test_latency_is_timed_once_for_each_number_of_layers(models, task, timed):
    for steps in ((), (prune(0.3),), (quantize("nf4"),), (quantize("nf4"), lora(2, 2)), (lora(2, 2),)):
        assert task.latency(models.model(steps)).value == 0.5
    assert timed == [("model", "start")]
    for steps in ((cut(1),), (cut(1), quantize("int8"))):
        task.latency(models.model(steps))
    assert len(timed) == 2
    task.latency(models.model((cut(2),)))
    assert len(timed) == 3 == len(task.latencies)


def test_latency_is_taken_from_those_that_are_known(models, task, timed):
    task.latency(models.model((cut(1),)))
    task.latencies = {key: Measurement(0.7, 0.6, 0.8, "×", 7) for key in task.latencies}
    assert task.measure(models.model((cut(1), prune(0.3))), frozenset())["latency"].value == 0.7
    assert len(timed) == 1


def test_latency_by_the_clock(models, task):
    latency = task.latency(models.model((cut(2),)))
    assert latency.unit == "×" and latency.n == 15 and 0.1 < latency.value < 2


# Cutting


def with_idle_layers(task: LanguageModelling, *idle: int) -> nn.Module:
    """The start with layers that hand on what they get."""
    model = task.start()
    for i in idle:
        model.model.layers[i].self_attn.o_proj.weight.data.zero_()
        model.model.layers[i].mlp.down_proj.weight.data.zero_()
    return model


@heads
@pytest.mark.parametrize("idle", range(LAYERS - 1))
def test_cutting_removes_the_layer_that_changes_its_input_least(task, head, idle):
    model = with_idle_layers(task, idle)
    before, layers = logits(model, task), list(model.model.layers)
    shorter = cut(1).apply(model, task, 0)
    assert list(shorter.model.layers) == layers[:idle] + layers[idle + 1 :]
    assert torch.equal(logits(shorter, task), before)


def test_cutting_several_removes_all_that_change_least(task):
    model = with_idle_layers(task, 0, 1)
    before, last = logits(model, task), model.model.layers[2]
    shorter = cut(2).apply(model, task, 0)
    assert list(shorter.model.layers) == [last]
    assert torch.equal(logits(shorter, task), before)


def test_the_last_layer_stays(task):
    model = with_idle_layers(task, LAYERS - 1)
    last = model.model.layers[-1]
    assert cut(2).apply(model, task, 0).model.layers[-1] is last


@pytest.mark.parametrize("steps", [(cut(1),), (cut(2), quantize("nf4")), (quantize("int8"), cut(1))], ids=written)
def test_a_cut_model_writes_on_as_it_reads(models, steps):
    model, prompt = models.model(steps), models.task.held_out[:1, :5]
    assert model.config.num_hidden_layers == len(model.model.layers) < LAYERS
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == list(range(len(model.model.layers)))
    written = model.generate(prompt, max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0)
    again = prompt
    for _ in range(6):
        with torch.no_grad():
            again = torch.cat([again, model(again, use_cache=False).logits[:, -1:].argmax(2)], 1)
    assert torch.equal(written, again)


def test_cutting_a_copy_leaves_the_model_whole(models):
    start = models.model(())
    assert len(models.model((cut(2),)).model.layers) == LAYERS - 2
    assert len(start.model.layers) == LAYERS == start.config.num_hidden_layers
    assert models.task.pretrained.model.config.num_hidden_layers == LAYERS


# Pruning


@heads
def test_wanda_drops_this_share_of_every_row_by_what_it_multiplies(models, head):
    start, model = models.model(()), models.model((PRUNED["wanda"],))
    calibration = models.task.training[:16].split(4)
    masks = wanda.wanda_masks(start, calibration, 0.3, list(linear_layers(start)))
    for name, weight in weights(model).items():
        assert (weight == 0).sum(1).unique().tolist() == [round(0.3 * weight.shape[1])]
        assert torch.equal(weight, weights(start)[name] * masks[f"{name}.weight"])


@heads
def test_by_magnitude_the_smallest_weights_of_every_layer_go(models, head):
    start, model = models.model(()), models.model((PRUNED["magnitude"],))
    for name, weight in weights(model).items():
        dropped = weight == 0
        assert dropped.sum() == round(0.3 * weight.numel())
        before = weights(start)[name]
        assert before[dropped].abs().max() <= before[~dropped].abs().min()
        assert torch.equal(weight, before.masked_fill(dropped, 0))


@heads
@rules
def test_pruning_leaves_embedding_norms_and_last_layer_alone(models, head, by):
    before, after = models.model(()).state_dict(), models.model((PRUNED[by],)).state_dict()
    others = [name for name in before if "_proj" not in name]
    assert len(others) == 2 * LAYERS + 3
    assert all(torch.equal(before[name], after[name]) for name in others)


@heads
@kinds
@rules
def test_pruning_integers_puts_zeros_among_them(models, head, kind, by):
    whole, model = models.model((QUANTIZED[kind],)), models.model((QUANTIZED[kind], PRUNED[by]))
    for name, weight in weights(model).items():
        before = weights(whole)[name]
        assert (weight == 0).float().mean() >= 0.295
        assert (weight[before == 0] == 0).all()
        kept = weight != 0
        assert (weight - before)[kept].abs().max() < (1e-6 if kind == "int8" else 0.02) * before.abs().max()
    assert {name: t.dtype for name, t in model.state_dict().items()} == {
        name: t.dtype for name, t in whole.state_dict().items()
    }


@rules
def test_pruning_beside_adapters_zeroes_the_integers_and_leaves_the_adapters(models, by):
    steps = quantize("nf4"), lora(2, 2)
    before, after = models.model(steps), models.model((*steps, PRUNED[by]))
    adapters = [name for name in before.state_dict() if "lora_" in name]
    assert len(adapters) == 2 * 7 * LAYERS
    assert all(torch.equal(before.state_dict()[name], after.state_dict()[name]) for name in adapters)
    for name, base in bases(after).items():
        dropped = base == 0
        assert 0.29 < dropped.float().mean() < 0.6  # NF4 has some zeros of its own
        assert (weights(after)[name][dropped] != 0).any()


# Quantizing


@heads
@kinds
def test_quantizing_holds_linear_layers_on_the_grid_and_the_embedding_in_8_bits(models, head, kind):
    start, model = models.model(()), models.model((QUANTIZED[kind],))
    for name, weight in weights(model).items():
        grid = packed.Int8() if kind == "int8" else packed.NF4(weight.shape)
        assert type(model.get_submodule(name).parametrizations.weight[0]) is type(grid)
        assert torch.equal(weight, grid(*grid.right_inverse(weights(start)[name])))
    int8 = packed.Int8()
    embedding = model.model.embed_tokens.weight
    assert torch.equal(embedding, int8(*int8.right_inverse(start.model.embed_tokens.weight)))
    if head == "untied":
        assert torch.equal(model.lm_head.weight, int8(*int8.right_inverse(start.lm_head.weight)))
    assert are_rounded(*(t for name, t in model.state_dict().items() if "norm" in name))


@kinds
def test_a_tied_last_layer_stays_tied_to_the_embedding_in_8_bits(models, kind):
    model, start = copy.deepcopy(models.model((QUANTIZED[kind],))), models.model(())
    hidden = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    assert not any(name.startswith("lm_head") for name in model.state_dict())
    assert torch.equal(model.lm_head(hidden), F.linear(hidden, model.model.embed_tokens.weight))
    distance = (model.lm_head(hidden) - start.lm_head(hidden)).norm() / start.lm_head(hidden).norm()
    assert 0 < distance < 0.01
    model.model.embed_tokens.parametrizations.weight.original0.zero_()
    assert not model.lm_head(hidden).any() and models.model((QUANTIZED[kind],)).lm_head(hidden).any()


@heads
@kinds
def test_quantizing_keeps_zeros(models, head, kind):
    pruned = weights(models.model((PRUNED["wanda"],)))
    for name, weight in weights(models.model((PRUNED["wanda"], QUANTIZED[kind]))).items():
        assert (weight[pruned[name] == 0] == 0).all()


@heads
@kinds
def test_a_quantized_model_is_nearly_the_same_model(models, head, kind):
    before, after = (logits(models.model(steps), models.task) for steps in ((), (QUANTIZED[kind],)))
    assert 0 < (after - before).norm() / before.norm() < (0.03 if kind == "int8" else 0.4)


@kinds
@pytest.mark.parametrize("between", [(), (lora(2, 2),), (cut(1),)], ids=written)
def test_quantizing_twice_is_refused(kind, between):
    with pytest.raises(
        Refused, match=r"quantize\(nf4\) does not work on a model with integers: they are quantized already"
    ):
        admit([QUANTIZED[kind], *between, quantize()], frozenset())


# Adapters


@heads
@rules
def test_what_adapters_learned_is_added_to_weights_that_are_not_zero(models, head, by):
    before, after = models.model((PRUNED[by],)), models.model((PRUNED[by], lora(2, 2)))
    for name, weight in weights(after).items():
        pruned = weights(before)[name]
        assert torch.equal(weight == 0, pruned == 0)
        assert (weight != pruned)[pruned != 0].float().mean() > 0.5
        assert are_rounded(weight)
    assert not any(parametrize.is_parametrized(module) for module in after.modules())
    assert after.state_dict().keys() == before.state_dict().keys() and not after.training


@heads
@kinds
def test_beside_integers_adapters_stay_and_the_integers_are_as_they_were(models, head, kind, tmp_path):
    before, after = models.model((QUANTIZED[kind],)), models.model((QUANTIZED[kind], lora(2, 2)))
    old, new = before.state_dict(), after.state_dict()
    assert all(torch.equal(new[name], tensor) for name, tensor in old.items())
    added = new.keys() - old.keys()
    assert len(added) == 2 * 7 * LAYERS and all(".lora_" in name for name in added)
    assert all(new[name].any() for name in added) and are_rounded(*(new[name] for name in added))
    stored = safetensors.load_weights(models.task.save(after, tmp_path / "model.safetensors"))
    assert {stored[name].dtype for name in added} == {torch.float16}
    for name, weight in weights(after).items():
        change = torch.linalg.matrix_rank((weight - bases(after)[name]).double(), rtol=1e-4)
        assert change == 2


def test_adapters_train_nothing_but_themselves(models):
    before, after = models.model(()).state_dict(), models.model((lora(2, 2),)).state_dict()
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed == {f"{name}.weight" for name in linear_layers(models.model(()))}


@heads
@pytest.mark.parametrize("steps", [(), (prune(0.3),), (quantize("nf4"),)], ids=written)
def test_adapters_learn(models, task, head, steps):
    before, after = (task.losses(models.model(stack)) for stack in (steps, (*steps, lora(8, 20))))
    assert after.mean() < before.mean() - 0.005


def test_second_adapters_beside_the_first_leave_those_as_they_are(models):
    steps = quantize("int8"), lora(2, 2)
    before, after = models.model(steps).state_dict(), models.model((*steps, lora(3, 2))).state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert len(after.keys() - before.keys()) == 2 * 7 * LAYERS


def test_adapters_with_one_seed_are_the_same_adapters(task):
    first = state_of(apply(task, quantize("nf4"), lora(2, 2), seed=3))
    assert is_state(apply(task, quantize("nf4"), lora(2, 2), seed=3), first)
    assert not is_state(apply(task, quantize("nf4"), lora(2, 2), seed=4), first)


@heads
def test_the_linear_layers_are_those_of_the_blocks(models, head):
    for steps in ((), (quantize("nf4"),), (quantize("int8"), lora(2, 2))):
        names = list(linear_layers(models.model(steps)))
        assert len(names) == 7 * LAYERS and all(name.startswith("model.layers.") for name in names)
