"""Models go to PySINDy and back unchanged; what cannot is refused."""

import numpy as np
import pysindy
import pytest

from mbrl.dynamics import SINDy
from mbrl.envs import pendulum
from mbrl.errors import BadInput
from tests.dynamics.sindy.systems import LIBRARIES, random_model, worst
from tests.toys import ACTION, TASK, ToyEnv, collect, generator, move


@pytest.fixture(scope="module")
def toy():
    data = collect(ToyEnv(4), 200).all()
    model = SINDy(obs_dim=2, action=ACTION, task=TASK)
    return model, data, model.fit(data, generator=generator(1))


@pytest.mark.parametrize("name", LIBRARIES)
def test_there_and_back(name):
    reference = random_model(name, 5)
    model = SINDy.from_pysindy(reference)
    again = model.to_pysindy()
    rows = np.random.default_rng(0).normal(size=(50, 4))
    expected = np.asarray(reference.predict(rows[:, :3], u=rows[:, 3:]))
    assert worst(again.predict(rows[:, :3], u=rows[:, 3:]), expected) < 1e-12
    if name != "affine":  # which has u twice
        np.testing.assert_array_equal(again.coefficients(), reference.coefficients())
        counts = [[e.count(" + ") for e in m.equations()] for m in (again, reference)]
        assert counts[0] == counts[1]
    third = SINDy.from_pysindy(again)
    assert third.steps.layout.library == model.steps.layout.library
    assert third.steps.members.equal(model.steps.members)


def test_a_delta_model_goes_to_pysindy_and_a_structured_one_does_not(toy):
    model, data, _ = toy
    reference = model.to_pysindy()
    predicted = np.asarray(reference.predict(data.obs.numpy(), u=data.action.numpy()))
    np.testing.assert_allclose(predicted, move(data.obs, data.action).numpy(), atol=1e-5)
    assert reference.feature_names == ["position", "velocity", "u"]
    env = pendulum()
    with pytest.raises(BadInput, match="turns angles"):
        SINDy(obs_dim=3, action=env.action, task=env.task, structured=True).to_pysindy()


def test_what_pysindy_cannot_give_or_take_is_refused():
    with pytest.raises(BadInput, match="DiscreteSINDy"):
        SINDy.from_pysindy(pysindy.SINDy())
    custom = pysindy.CustomLibrary([lambda x: np.exp(x)])
    model = pysindy.DiscreteSINDy(feature_library=custom)
    rows = np.random.default_rng(0).normal(size=(20, 2))
    model.fit(rows, 1.0, x_next=rows)
    with pytest.raises(BadInput, match="CustomLibrary cannot be read"):
        SINDy.from_pysindy(model)
