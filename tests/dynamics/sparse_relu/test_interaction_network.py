"""Interaction networks: one law for all pairs, and its expansion to one ReLU network."""

import numpy as np
import torch

from mbrl.dynamics.sparse_relu.interaction_network import (
    InteractionNetwork,
    InteractionNetworks,
    to_relu_network,
)
from mbrl.types import InteractionEdges
from tests.toys import generator


def pairs(count: int = 3) -> tuple[InteractionEdges, ...]:
    """Points on a line that see each other's distance, and each the first action."""
    ordered = [(i, j) for i in range(count) for j in range(count) if i != j]
    reads = torch.zeros(len(ordered), 1, count + 2)
    writes = torch.zeros(len(ordered), count, 1)
    for e, (i, j) in enumerate(ordered):
        reads[e, 0, i], reads[e, 0, j], writes[e, i, 0] = 1, -1, 1
    own = torch.zeros(count, 1, count + 2)
    own[:, 0, count] = 1
    return InteractionEdges(reads, writes), InteractionEdges(own, torch.eye(count)[:, :, None])


def networks(num_members: int = 2) -> InteractionNetworks:
    made = InteractionNetworks(
        InteractionNetwork(num_members, edges, (4, 3), generator=generator(seed))
        for seed, edges in enumerate(pairs())
    )
    x = torch.randn(100, 5, generator=generator(7))
    for network in made.kinds():
        network.fit_scales(x, torch.tensor([1.0, 2.0, 3.0]))
        with torch.no_grad():
            network.net.weight.normal_(generator=generator(8))
    return made


def test_an_edge_reads_its_objects_and_writes_to_its_own():
    """With a law that is linear: the change is the sum over edges, here written out."""
    made = networks(1)
    for network, slope in zip(made.kinds(), (2.0, 0.5), strict=True):
        network.net.prune(torch.zeros(1, 10, 1), 0)
        network.inputs.load_state_dict({"mean": torch.zeros(1), "std": torch.ones(1)})
        network.scale.fill_(1)
        network.set_skip(torch.tensor([slope, 0.25]))
        with torch.no_grad():
            network.net.weight[:, 1:] = 0
    x = torch.tensor([[1.0, 4.0, 6.0, 10.0, 99.0]])  # three points, two actions
    gaps = torch.tensor([(1 - 4) + (1 - 6), (4 - 1) + (4 - 6), (6 - 1) + (6 - 4)])
    expected = 2 * gaps + 2 * 0.25 + 0.5 * 10 + 0.25
    torch.testing.assert_close(made(x[None])[0, 0], expected.float())


def test_the_one_relu_network_predicts_the_next_state():
    made = networks()
    x = torch.randn(2, 20, 5, generator=generator(1))
    change = made(x).detach()
    for member in range(2):
        network = to_relu_network(made.kinds(), member, obs_dim=3, num_anchors=0)
        assert network.num_neurons == (6 + 3) * 7
        result = network.forward(x[member].double().numpy())[0]
        expected = (x[member, :, :3] + change[member]).double().numpy()
        np.testing.assert_allclose(result, expected, atol=1e-4)


def test_anchors_pass_through_unchanged():
    made = networks(1)
    x = torch.randn(20, 5, generator=generator(1)).double().numpy()
    anchors = np.full((20, 2), 7.0)
    plain = to_relu_network(made.kinds(), 0, obs_dim=3, num_anchors=0).forward(x)[0]
    network = to_relu_network(made.kinds(), 0, obs_dim=3, num_anchors=2)
    both = np.concatenate([x[:, :3], anchors, x[:, 3:]], 1)
    result = network.forward(both)[0]
    np.testing.assert_allclose(result, np.concatenate([plain, anchors], 1), atol=1e-9)


def test_skip_connections_are_fitted_by_least_squares():
    made = networks(2)
    for network in made.kinds():
        with torch.no_grad():
            network.net.weight[:, 1:] = 0  # no neurons
    x = torch.randn(500, 5, generator=generator(2))
    gaps = 3 * x[:, :3] - x[:, :3].sum(1, keepdim=True)
    change = -0.3 * gaps + 0.7 * x[:, 3:4] + 0.1
    made.fit_skips(x, change, torch.tensor([1.0, 2.0, 3.0]))
    result = made(x.expand(2, -1, -1))
    torch.testing.assert_close(result, change.expand(2, -1, -1), atol=1e-3, rtol=0)


def test_whole_objects_are_one_edge():
    whole = InteractionEdges(torch.eye(3)[None], torch.eye(2)[None])
    made = InteractionNetworks([InteractionNetwork(1, whole, (5,), generator=generator())])
    x = torch.randn(1, 6, 3, generator=generator(1))
    network = made.kinds()[0]
    torch.testing.assert_close(made(x), network.net(network.inputs(x)) * network.scale)
