"""Collectives: values and gradients over 1, 2 and 4 real processes equal those of one process on the joined batch."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import torch
import worlds
from torch import nn

from coview import batchnorm, parallel
from coview.errors import UsageError

ROWS = {1: [7], 2: [5, 2], 4: [2, 0, 4, 1]}


def data(columns=3):
    return torch.randn(7, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def own(x, sizes):
    start = sum(sizes[: parallel.rank()])
    return x[start : start + sizes[parallel.rank()]]


def gathered(sizes):
    x = own(data(), sizes).requires_grad_()
    y = parallel.gather_with_grad(x)
    # A loss that differs by rank: the gradient is the sum of all of them.
    ((parallel.rank() + 1) * (y**3).sum()).backward()
    return y.detach(), x.grad, parallel.gather(torch.full((len(x),), parallel.rank())), parallel.row_counts(x)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_gather_with_grad(world):
    sizes = ROWS[world]
    x = data()
    gradient = 3 * x**2 * sum(range(1, world + 1))
    for rank, (y, grad, ranks, counts) in enumerate(worlds.run(world, gathered, sizes)):
        torch.testing.assert_close(y, x)
        torch.testing.assert_close(grad, gradient[sum(sizes[:rank]) :][: sizes[rank]])
        assert ranks.tolist() == [rank for rank, size in enumerate(sizes) for _ in range(size)]
        assert counts == sizes


def moments(sizes, covariance):
    x = (own(data(), sizes) + 1e6).requires_grad_()
    count, mean, second = parallel.reduced_moments(x, covariance)
    loss = (mean**2).sum() * 1e-6 + (second**2).sum()
    loss.backward()
    return count, mean.detach(), second.detach(), x.grad / parallel.world_size()


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("covariance", [False, True])
def test_reduced_moments(world, covariance):
    x = (data() + 1e6).requires_grad_()
    second = torch.cov(x.T) if covariance else x.var(0)
    ((x.mean(0) ** 2).sum() * 1e-6 + (second**2).sum()).backward()
    results = worlds.run(world, moments, ROWS[world], covariance)
    for count, mean, spread, _ in results:
        assert count == 7
        torch.testing.assert_close(mean, x.detach().mean(0))
        torch.testing.assert_close(spread, second.detach(), rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(torch.cat([result[3] for result in results]), x.grad, rtol=1e-7, atol=1e-8)


def means(sizes):
    x, keep = own(data(1)[:, 0], sizes).requires_grad_(), own(data(1)[:, 0] > 0, sizes)
    parallel.mean_over_world(x**2, keep).backward()
    return (
        parallel.mean_over_world(x.detach()),
        parallel.mean_over_world(x.detach() ** 2, keep),
        x.grad / parallel.world_size(),
    )


@pytest.mark.parametrize("world", [1, 2, 4])
def test_mean_over_world_averages_to_the_global_mean(world):
    x = data(1)[:, 0]
    results = worlds.run(world, means, ROWS[world])
    torch.testing.assert_close(sum(result[0] for result in results) / world, x.mean())
    torch.testing.assert_close(sum(result[1] for result in results) / world, (x[x > 0] ** 2).mean())
    gradient = torch.where(x > 0, 2 * x / (x > 0).sum(), 0)
    torch.testing.assert_close(torch.cat([result[2] for result in results]), gradient)


def test_mean_of_nothing_is_zero():
    assert parallel.mean_over_world(torch.zeros(0)) == 0
    assert parallel.mean_over_world(torch.ones(2), torch.zeros(2, dtype=torch.bool)) == 0


def network(norm=nn.BatchNorm2d):
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(2, 3, 3), norm(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4))


def images():
    return torch.randn(7, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def normalised(sizes):
    net = batchnorm.synchronise(network().double())
    y = net(own(images(), sizes))
    parallel.mean_over_world((y**3).sum(1)).backward()
    gradients = [parallel.sum_with_grad(p.grad) / parallel.world_size() for p in net.parameters()]
    net.eval()
    return y.detach(), gradients, net.state_dict(), net(images())


@pytest.mark.parametrize("world", [1, 2, 4])
def test_synchronised_batchnorm(world):
    net = network().double()
    y = net(images())
    (y**3).sum(1).mean().backward()
    expected = [p.grad for p in net.parameters()]
    results = worlds.run(world, normalised, ROWS[world])
    torch.testing.assert_close(torch.cat([result[0] for result in results]), y.detach())
    for _, gradients, state, evaluated in results:
        assert list(state) == list(net.state_dict())
        torch.testing.assert_close(gradients, expected)
        torch.testing.assert_close(state, net.state_dict())
        torch.testing.assert_close(evaluated, net.eval()(images()))


def test_alone_nothing_is_replaced():
    net = network()
    layers = list(net)
    assert list(batchnorm.synchronise(net)) == layers
    x = data().requires_grad_()
    assert parallel.gather_with_grad(x) is x
    assert parallel.sum_with_grad(x) is x


def test_ranks_from_the_environment(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    assert (parallel.rank(), parallel.world_size(), parallel.is_main()) == (0, 1, True)
    monkeypatch.setenv("SLURM_NTASKS", "8")  # a batch script without srun is one process
    assert parallel.world_size() == 1
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    monkeypatch.setenv("SLURM_PROCID", "5")
    assert (parallel.rank(), parallel.world_size(), parallel.is_main()) == (5, 8, False)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert (parallel.rank(), parallel.world_size()) == (1, 2)


@pytest.mark.parametrize(
    ("nodes", "first"), [("n1", "n1"), ("gpu-a,gpu-b", "gpu-a"), ("node[03-07,9],x", "node03"), ("a[1,3]", "a1")]
)
def test_first_host_of_a_node_list(nodes, first):
    assert parallel._first_host(nodes) == first


def test_initialise_alone_makes_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert parallel.initialise("cpu") == torch.device("cpu")
    assert not torch.distributed.is_initialized()
    parallel.shutdown()


STALLING = """
import os, signal, sys, time, torch
from coview import parallel
from coview.errors import CoviewError
parallel.initialise("cpu")
try:
    try:
        parallel.gather(torch.ones(1))
        print("together", flush=True)
        if parallel.rank() == 1:
            {what}
        parallel.gather(torch.ones(1))
    finally:
        parallel.shutdown()
except CoviewError as error:
    print(error, flush=True)
    sys.exit(1)
"""


def start_three(what):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    around = {**os.environ, "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "COVIEW_TIMEOUT": "4"}
    command = [sys.executable, "-c", STALLING.format(what=what)]
    return [
        subprocess.Popen(command, env={**around, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(3)
    ]


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("what", "story"),
    [
        ("os.kill(os.getpid(), signal.SIGSTOP)", "processes 0, 2 waited for process 1, which did not come"),
        ("time.sleep(60)", "processes 0, 2 waited for process 1, which did not come"),
        ("os._exit(1)", "waited for process 1, which ended; its own message says why"),
    ],
)
def test_a_process_that_stalls_or_leaves_is_named_in_stated_time(what, story):
    running = start_three(what)
    try:
        assert [process.stdout.readline() for process in running] == ["together\n"] * 3
        started = time.monotonic()
        said = {rank: running[rank].communicate(timeout=60)[0] for rank in (0, 2)}
        assert time.monotonic() - started < 45
        assert all(story in text and "COVIEW_TIMEOUT=SECONDS" in text for text in said.values()), said
        assert [running[rank].returncode for rank in (0, 2)] == [1, 1]
    finally:
        for process in running:
            process.send_signal(signal.SIGKILL)
            process.wait()


@pytest.mark.parametrize("asked", ["soon", "0", "-3", "nan", "inf"])
def test_a_time_out_that_is_no_number_is_refused(asked, monkeypatch):
    monkeypatch.setenv("COVIEW_TIMEOUT", asked)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="COVIEW_TIMEOUT"):
        parallel.initialise("cpu")


def failing():
    def act():
        raise OSError("the disk is full")

    try:
        parallel.on_main(act)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def test_what_fails_on_process_0_ends_all():
    told = worlds.run(2, failing)
    assert told[0] == "OSError: the disk is full" and told[1].startswith("UsageError: process 0 stopped")
