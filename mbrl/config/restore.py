"""Parts of a run, built from its config and restored from its newest checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbrl.config.build import Parts, build
from mbrl.config.check import check_saved
from mbrl.config.trust import NOTHING, Trust, check_dataset, check_trusted
from mbrl.errors import BadInput
from mbrl.training.versions import warn_of_other_versions

if TYPE_CHECKING:
    from mbrl.training.run_folder import RunFolder


def restore(run: RunFolder, trust: Trust = NOTHING) -> Parts:
    """Build a run's parts and load its newest checkpoint into the agent; imports torch.

    Args:
        run: it may come from a stranger.
        trust: what the user agrees to.

    Raises:
        BadInput: if there is no good checkpoint, the config was changed since, or it names what
            the user has not agreed to.
    """
    if not run.checkpoints():
        raise BadInput(f"{run.path}: has no checkpoint yet; train it first")
    check_stored(run, trust)
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


def check_stored(
    run: RunFolder, trust: Trust, *, with_data: bool = False, without: tuple[str, ...] = ()
) -> None:
    """Check a stored config before anything that it names is imported.

    Args:
        run: it may come from a stranger.
        trust: what the user agrees to.
        with_data: whether its dataset will be read.
        without: groups that will not be built.

    Raises:
        BadInput: naming the key and what would be right.
    """
    try:
        check_trusted(run.config, trust, without=without)
        env = run.config.get("env")
        if with_data or (isinstance(env, dict) and env.get("_target_") == "mbrl.data.Spaces"):
            check_dataset(run.config, trust)
    except BadInput as error:
        raise BadInput(f"{run.config_path}: {error}") from None
    check_saved(run.config, run.config_path)
    run.check_config(accept=trust.changes)
