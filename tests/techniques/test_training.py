import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labkit.techniques.training import train_


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
