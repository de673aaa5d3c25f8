"""A run's folder belongs to one training: claimed before anything is written, left as it was found when nothing was trained."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import BaseFileLock
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils import writer

from fourdgs_ns.common.console import say, warn
from fourdgs_ns.common.errors import UserError
from fourdgs_ns.common.files import as_user_error, make_folder, remove_leftovers
from fourdgs_ns.common.interrupts import go_on_with, interruptible
from fourdgs_ns.common.typed_command import has_option, typed_again
from fourdgs_ns.common.workspace import try_lock
from fourdgs_ns.plugin.checkpoints import checkpoints_in

LOCK = ".lock"
RESUMING = ("--load-dir", "--load-checkpoint", "--load-step")


@dataclass
class Claim:
    """What this process holds of a run's folder."""

    lock: BaseFileLock
    made: list[Path]
    """Folders that were not there before, the innermost first."""


_claims: dict[Path, Claim] = {}


def claim(config: TrainerConfig) -> None:
    """Make the folder of ``config``'s run this training's own. Where it is another's, ``config`` gets a name of its own.

    Only a training that goes on from the checkpoints in the folder may have one that holds any.

    Raises:
        UserError: another process trains what this one is to go on with, or the folder cannot be written.
    """
    asked = config.get_base_dir()
    first = datetime.now().strftime("%Y-%m-%d_%H%M%S") if config.timestamp == "." else config.timestamp
    for number in itertools.count(1):
        folder, models = config.get_base_dir(), config.get_checkpoint_dir()
        goes_on = _loaded_from(config) == models.resolve()
        if (goes_on or not checkpoints_in(models)) and _take(folder):
            break
        if goes_on:
            raise UserError(f"{folder} is being trained by another process; wait until that has ended, or stop it")
        config.timestamp = first if number == 1 and first != config.timestamp else f"{first}-{number + 1}"
    if folder != asked:
        say(f"{asked} belongs to another training; this one is written to {folder}")


def _loaded_from(config: TrainerConfig) -> Path | None:
    if config.load_dir is not None:
        return config.load_dir.resolve()
    return None if config.load_checkpoint is None else config.load_checkpoint.parent.resolve()


def _take(folder: Path) -> bool:
    """Whether ``folder`` is this process's now."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    make_folder(folder)
    lock = try_lock(folder / LOCK)
    if lock is None:
        return False
    remove_leftovers(folder)
    _claims[folder.absolute()] = Claim(lock, made)
    return True


def release(config: TrainerConfig) -> None:
    """Give the run's folder up. Without a checkpoint it is removed, if this training made it."""
    folder = config.get_base_dir().absolute()
    held = _claims.pop(folder, None)
    if held is None:
        return
    (folder / LOCK).unlink(missing_ok=True)
    held.lock.release()
    if held.made and not checkpoints_in(config.get_checkpoint_dir()):
        shutil.rmtree(folder, ignore_errors=True)
        for above in held.made[1:]:
            with suppress(OSError):
                above.rmdir()  # unless another training is in it


@contextmanager
def owning(config: TrainerConfig, until_end: bool = False) -> Iterator[None]:
    """A stage of a training. What ends it early gives the folder up, is one line, and after Ctrl-C names what goes on.

    Args:
        until_end: The last stage, which gives the folder up in any case.
    """
    ended = until_end
    with interruptible():
        go_on_with(lambda: way_on(config))
        try:
            yield
        except OSError as error:
            ended = True
            raise as_user_error(error) from error
        except BaseException:
            ended = True
            raise
        finally:
            if ended:
                close_event_files()
                release(config)


def close_event_files() -> None:
    """Have what TensorBoard holds back written, and the files of this training left alone by the next in this process."""
    for events in [entry for entry in writer.EVENT_WRITERS if isinstance(entry, writer.TensorboardWriter)]:
        writer.EVENT_WRITERS.remove(events)
        try:
            events.tb_writer.close()
        except OSError as error:
            warn(f"The last events for TensorBoard could not be written ({error.strerror or error}).")


def way_on(config: TrainerConfig) -> str:
    """The command that goes on with the run of ``config``: from its last checkpoint, or from its start while it has none."""
    saved = config.get_checkpoint_dir()
    added: dict[str, object] = {}
    if not has_option("--output-dir") and not has_option("--load-config"):
        added["--output-dir"] = config.output_dir.absolute()
    if not checkpoints_in(saved):
        return typed_again(config, added=added)
    return typed_again(config, without=RESUMING, added={**added, "--load-dir": saved.absolute()})
