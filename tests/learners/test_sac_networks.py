"""Networks on flat parameters: initialization, densities of actions."""

import torch
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from mbrl.learners.sac_networks import forward, gaussian_log_prob, initial, squash
from mbrl.nn.flat import layers
from tests.learners.sac_problems import seeded


def test_weights_have_the_default_distribution_of_linear_layers():
    flat = initial(2, (100, 400, 3), generator=seeded())
    (weight, bias), (last, last_bias) = layers(flat, 2, (100, 400, 3))
    assert weight.shape == (2, 100, 400) and last.shape == (2, 3, 400)
    assert bias.shape == (2, 1, 400) and last_bias.shape == (2, 3, 1)
    for part, bound in ((weight, 0.1), (bias, 0.1), (last, 0.05), (last_bias, 0.05)):
        assert part.abs().max() <= bound
    assert abs(weight.std().item() - 0.1 / 3**0.5) < 1e-3
    assert weight.max() > 0.0999 and last.max() > 0.0495
    assert not weight[0].equal(weight[1])


def test_forward_is_a_relu_network():
    flat = initial(2, (3, 5, 2), generator=seeded())
    (weight, bias), (last, last_bias) = layers(flat, 2, (3, 5, 2))
    x = torch.randn(7, 3, generator=seeded(1))
    out = forward(x.expand(2, -1, -1), layers(flat, 2, (3, 5, 2)))
    assert out.shape == (2, 2, 7)
    for k in range(2):
        expected = (x @ weight[k] + bias[k]).relu() @ last[k].T + last_bias[k].T
        torch.testing.assert_close(out[k].T, expected)


def test_actions_and_densities_are_those_of_a_tanh_gaussian():
    g = seeded(2)
    head, noise = 0.5 * torch.randn(4, 50, generator=g), torch.randn(2, 50, generator=g)
    sample = squash(head, noise, gaussian_log_prob(noise))
    mean, log_std = head.chunk(2)
    law = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform(cache_size=1)])
    action = (mean + log_std.exp() * noise).tanh()
    torch.testing.assert_close(sample.action, action)
    near = action.abs().amax(0) < 0.99  # elsewhere EPSILON shows
    expected = law.log_prob(action).sum(0)
    torch.testing.assert_close(sample.log_prob[near], expected[near], atol=1e-3, rtol=0)
