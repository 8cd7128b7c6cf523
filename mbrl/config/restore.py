"""Parts of a run, built from its config and restored from its newest checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mbrl.config.build import Parts, build
from mbrl.config.check import check_saved
from mbrl.config.sizes import check_sizes
from mbrl.config.trust import NOTHING, Trust, check_dataset, check_trusted
from mbrl.errors import BadInput
from mbrl.memory import in_words, is_too_large
from mbrl.training.versions import warn_of_other_versions

if TYPE_CHECKING:
    from mbrl.training.run_folder import RunFolder

_FREE, _RATIO = 4 * 2**30, 16  # bytes to build a run in, and beside that for each of its checkpoint


def restore(run: RunFolder, trust: Trust = NOTHING) -> Parts:
    """Build a run's parts and load its newest checkpoint into the agent; imports torch.

    Args:
        run: it may come from a stranger.
        trust: what the user agrees to.

    Raises:
        BadInput: if there is no good checkpoint, the config was changed since, it names what the
            user has not agreed to, or it asks for too much.
    """
    if not run.checkpoints():
        raise BadInput(f"{run.path}: has no checkpoint yet; train it first")
    check_stored(run, trust)
    run.check("agent")  # before torch is imported
    warn_of_other_versions(run.versions_path, "results may differ")
    saved = run.load("agent")
    assert saved is not None
    import torch

    from mbrl.training.faults import load_part

    torch.set_num_threads(run.config["num_threads"])
    parts = build_stored(run, trust, with_data=False)
    load_part(run.path, "agent", parts.agent, saved["agent"])
    return parts


def most_memory(run: RunFolder, trust: Trust) -> int | None:
    """Return the bytes that building a stored run may take: its checkpoint accounts for them.

    Args:
        run: its checkpoint has been found good.
        trust: what the user agrees to; with trust.code the limit is None, that of the machine.
    """
    return None if trust.code else _FREE + _RATIO * run.num_bytes


def build_stored(run: RunFolder, trust: Trust, *, with_data: bool = True) -> Parts:
    """Build the parts of a stored run in bounded memory.

    Args:
        run: its config and its checkpoint have been checked.
        trust: what the user agrees to.
        with_data: as build.

    Raises:
        BadInput: as build; naming the setting that asks for too much.
    """
    most = most_memory(run, trust)
    try:
        return build(run.config, with_data=with_data, most_memory=most)
    except BadInput as error:
        if most is None or not is_too_large(error.__cause__ or error):
            raise
        setting = str(error).partition(": ")[0]
        raise BadInput(
            f"{run.config_path}: {setting}: needs more than {in_words(most)}, the most that is "
            "taken for a run with such a checkpoint; --trust (in Python trust=True) allows it"
        ) from error


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
    if not trust.code:
        try:
            check_sizes(run.config, trust.config_dir)
        except BadInput as error:
            raise BadInput(f"{run.config_path}: {error}") from None
    run.check_config(accept=trust.changes)
