"""Parts of a run, built from its config and restored from its newest checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbrl.config.build import Parts, build
from mbrl.config.check import check_saved
from mbrl.errors import BadInput
from mbrl.training.versions import warn_of_other_versions

if TYPE_CHECKING:
    from mbrl.training.run_folder import RunFolder


def restore(run: RunFolder) -> Parts:
    """Build a run's parts and load its newest checkpoint into the agent; imports torch.

    Raises:
        BadInput: if there is no good checkpoint, or the config was changed since.
    """
    if not run.checkpoints():
        raise BadInput(f"{run.path}: has no checkpoint yet; train it first")
    check_saved(run.config, run.config_path)
    run.check("agent")  # before torch is imported
    warn_of_other_versions(run.versions_path, "results may differ")
    saved = run.load("agent")
    assert saved is not None
    import torch

    from mbrl.training.faults import checkpoint_mismatch

    torch.set_num_threads(run.config["num_threads"])
    parts = build(run.config, with_data=False)
    with checkpoint_mismatch(run.path, "agent"):
        parts.agent.load_state_dict(saved["agent"])
    return parts
