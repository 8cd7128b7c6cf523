"""Values of settings are checked, also where old names give them."""

import pytest

from mbrl.dynamics import SINDy
from mbrl.dynamics.sindy import (
    LibrarySettings,
    RegressionSettings,
    RewardSettings,
    ValiditySettings,
)
from mbrl.errors import BadInput
from mbrl.moved import Renamed
from tests.toys import ACTION, TASK


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (LibrarySettings, "degree", 0),
        (LibrarySettings, "frequencies", -1),
        (LibrarySettings, "affine", 1),
        (RegressionSettings, "target", "change"),
        (RegressionSettings, "threshold", -0.1),
        (RegressionSettings, "alpha", float("nan")),
        (RegressionSettings, "rows_per_term", 0.0),
        (RegressionSettings, "num_dropped_terms", 1.5),
        (RewardSettings, "degree", 0),
        (RewardSettings, "threshold", -1),
        (ValiditySettings, "margin", 0),
        (ValiditySettings, "horizon", 0),
        (ValiditySettings, "max_rollout_error", 0.0),
    ],
)
def test_a_wrong_value_is_refused_by_name(kind, name, value):
    with pytest.raises(BadInput, match=f"^{name}="):
        kind(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_members", 0), ("num_elites", 21), ("aggregate", "mode"), ("uncertainty", "std")],
)
def test_the_models_own_values_are_checked(name, value):
    with pytest.raises(BadInput, match=f"^{name}="):
        SINDy(obs_dim=2, action=ACTION, task=TASK, **{name: value})


def test_old_arguments_set_the_new_settings():
    with pytest.warns(Renamed):
        old = SINDy(obs_dim=2, action=ACTION, task=TASK, degree=1, dropped=0, bounds=2.0)  # type: ignore[call-arg]
    assert old.steps.layout.library.names(["x", "v", "u"]) == ["1", "x", "v", "u", "x u", "v u"]
    assert old._regression == RegressionSettings(num_dropped_terms=0)
    assert old._validity == ValiditySettings(margin=2.0)
    with pytest.warns(Renamed), pytest.raises(BadInput, match="degree=0"):
        SINDy(obs_dim=2, action=ACTION, task=TASK, degree=0)  # type: ignore[call-arg]
