import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labkit.techniques.training import compute_dtype, train_


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))


def batches(n: int, seed: int = 0):
    draw = torch.Generator().manual_seed(seed)
    for _ in range(n):
        x = torch.randn(8, 3, generator=draw)
        yield x, (x[:, 0] > 0).long()


def sgd(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), 0.5)


def test_every_step_is_gradients_then_update_then_progress():
    net, order = model(), []
    start = net[0].weight.detach().clone()

    def before():
        assert net.training and net[0].weight.grad is not None
        order.append(("before", torch.equal(net[0].weight, start)))

    def after(step):
        order.append(("after", step))
        assert not torch.equal(net[0].weight, start)
        start.copy_(net[0].weight.detach())

    train_(
        net,
        batches(2),
        2,
        sgd(net),
        before_update=before,
        after_update=after,
        progress=lambda step, loss: order.append(("progress", step)),
    )
    assert order == [("before", True), ("after", 1), ("progress", 1), ("before", True), ("after", 2), ("progress", 2)]
    assert not net.training and net[0].weight.grad is None


def test_the_learning_rate_falls_to_zero_along_a_cosine():
    net, rates = model(), []
    optimizer = sgd(net)

    def read():
        rates.append(optimizer.param_groups[0]["lr"])

    train_(net, batches(4), 4, optimizer, before_update=read)
    assert rates == pytest.approx([0.25 * (1 + math.cos(math.pi * i / 4)) for i in range(4)])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0)


def test_gradients_are_of_this_batch_alone():
    net, seen = model().eval(), []
    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    net[1].p = 0.0
    train_(net, batches(2), 2, optimizer, before_update=lambda: seen.append(net[0].weight.grad.clone()))
    for gradient, (x, y) in zip(seen, batches(2)):
        F.cross_entropy(net(x), y).backward()
        torch.testing.assert_close(gradient, net[0].weight.grad)
        net.zero_grad()


def test_the_loss_gets_the_output_and_whatever_the_batches_give_as_targets():
    net, given = model(), []
    pairs = [(torch.zeros(1, 3), ("teacher", "label"))]

    def loss(output, targets):
        given.append(targets)
        return output.sum()

    train_(net, pairs, 1, sgd(net), loss)
    assert given == [("teacher", "label")]


def test_batches_that_end_too_soon():
    net = model()
    with pytest.raises(ValueError, match="5 steps were asked for, and the batches ended after 2"):
        train_(net, batches(2), 5, sgd(net))


def test_a_loss_that_is_not_finite_stops_before_it_reaches_the_weights():
    net = model()
    before = net[0].weight.detach().clone()
    with pytest.raises(ValueError, match="the loss is nan at step 1: try a smaller lr than 0.5"):
        train_(net, ((x * torch.nan, y) for x, y in batches(2)), 2, sgd(net))
    assert torch.equal(net[0].weight, before)


# Precision


class Half(nn.Module):
    """A frozen layer in float16 with a trained one in float32 behind it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.Linear(3, 3).half().requires_grad_(False)
        self.trained = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.trained(self.frozen(x.half()).float())


def trained(net: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in net.parameters() if p.requires_grad]


@pytest.fixture
def scalers(monkeypatch) -> list[torch.amp.GradScaler]:
    """Those that the training made."""
    made = []

    class Remembered(torch.amp.GradScaler):
        def __init__(self, *args, **kwargs) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr("torch.amp.GradScaler", Remembered)
    return made


@pytest.mark.parametrize(
    ("dtype", "expected"), [(torch.float16, True), (torch.bfloat16, False), (torch.float32, False)]
)
def test_the_loss_is_scaled_where_the_model_is_cast_to_float16(dtype, expected, scalers):
    net, losses = model(), []
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        train_(net, batches(3), 3, sgd(net), progress=lambda step, loss: losses.append(loss))
    assert [scaler.is_enabled() for scaler in scalers] == [expected]
    assert all(map(math.isfinite, losses))


def test_scaling_a_loss_of_which_nothing_vanishes_changes_nothing(scalers):
    net, plain, losses = Half(), Half(), []
    train_(net, batches(5), 5, sgd(net), progress=lambda step, loss: losses.append(loss))
    assert scalers[0].is_enabled() and all(map(math.isfinite, losses))
    optimizer = sgd(plain)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5)
    for x, y in batches(5):
        optimizer.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(trained(net), trained(plain))


def test_gradients_too_small_for_float16_arrive():
    """As in a model with adapters before its last layers, which are in float16."""

    class Before(nn.Module):
        def __init__(self, dtype: torch.dtype) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.trained, self.frozen = nn.Linear(3, 3), nn.Linear(3, 3).to(dtype).requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 1e-7 * self.frozen(self.trained(x).to(self.frozen.weight.dtype)).float()

    gradients = []
    for dtype in (torch.float16, torch.float32):
        net = Before(dtype)
        train_(net, batches(1), 1, sgd(net), before_update=lambda: gradients.append(net.trained.weight.grad.clone()))
    assert gradients[0].abs().min() > 0
    torch.testing.assert_close(*gradients, rtol=0.02, atol=0)


def test_a_step_whose_gradients_are_not_finite_is_left_out():
    net, states = Half(), []
    net.trained.weight.register_hook(lambda grad: torch.full_like(grad, torch.inf) if len(states) == 1 else grad)
    with pytest.warns(UserWarning, match="float16: 1 of 3 updates left out, gradients not finite"):
        train_(net, batches(3), 3, sgd(net), after_update=lambda step: states.append(trained(net)))
    assert all(map(torch.equal, states[0], states[1]))
    assert not torch.equal(states[1][0], states[2][0])


@pytest.mark.parametrize(
    ("device", "native", "expected"),
    [
        ("cuda", True, torch.bfloat16),
        ("cuda", False, torch.float16),
        ("cpu", True, torch.bfloat16),
        ("cpu", False, torch.float32),
    ],
)
def test_each_device_computes_in_what_it_multiplies(device, native, expected, monkeypatch):
    """A GPU that only imitates bfloat16 says yes where it is asked without the argument."""
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation=True: including_emulation or native)
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: native)
    assert compute_dtype(device) == expected
