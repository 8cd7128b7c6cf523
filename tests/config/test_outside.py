"""What lies outside the package: ids of gymnasium's environments."""

import pytest

from mbrl.config.outside import check_gymnasium_id
from mbrl.errors import BadInput


@pytest.mark.parametrize("id", ["Pendulum-v1", "mbrl/Hopper-v5", "tests.toys:Toy-v0"])
def test_known_ids_pass(id):
    check_gymnasium_id("env.id", id)


@pytest.mark.parametrize(
    "id, words",
    [
        ("Pendulm-v1", "no such gymnasium environment; did you mean Pendulum-v1?"),
        ("Pendulum", "no such gymnasium environment; did you mean Pendulum-v1?"),  # no version
        ("qqqqqqqqqq", "no such gymnasium environment; "),
        ("nothing_here.deep:X-v0", "there is no module nothing_here.deep"),
    ],
)
def test_unknown_ids_are_refused_with_the_key(id, words):
    with pytest.raises(BadInput) as caught:
        check_gymnasium_id("env.id", id)
    assert str(caught.value).startswith(f"env.id={id}: {words}")
    assert "\n" not in str(caught.value)
