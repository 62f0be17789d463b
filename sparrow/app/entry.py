"""What every Hydra entry point does around its work: names, one-message errors, the parent run, the final report."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from sparrow.app.arguments import check_arguments
from sparrow.app.as_trained import as_trained
from sparrow.app.callbacks import RememberSweep
from sparrow.app.help import help_text
from sparrow.app.launching import register_launchers
from sparrow.app.launching.jobs import command_name
from sparrow.app.settings import SCHEMAS, checked, register_schemas
from sparrow.core.config import ExperimentConfig, run_id
from sparrow.core.errors import ConfigError, SparrowError

T = TypeVar("T")
CONFIG_PATH = "pkg://sparrow.conf"
MAX_NAME_CHARACTERS = 120
ENDED_BY_SIGNAL = 128  # a shell's exit code for a process that a signal ended, less the signal's number
PATH_KEYS = ("checkpoint", "hydra.run.dir")


def set_up() -> None:
    """Register schemas, launchers and resolvers; to be called before Hydra composes."""
    register_schemas()
    register_launchers()
    OmegaConf.register_new_resolver("as_trained", as_trained, replace=True)
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("gpus_per_node", gpus_per_node, replace=True)


def factors_of(config: DictConfig) -> dict[str, Any]:
    """Values of the study's factors and of what else is swept: the choice of a group, or the value of a key."""
    return _factor_values(config, HydraConfig.get().runtime.choices)


def run_name(*, _root_: DictConfig) -> str:
    """A run's folder inside its sweep: the values of its factors, as `mixture=sparrow,seed=0`."""
    values = _factor_values(_root_, _root_.hydra.runtime.choices)
    name = ",".join(f"{key.split('.')[-1]}={value}" for key, value in values.items())
    name = "".join(c if c.isalnum() or c in "=,._-+[]" else "_" for c in name)
    return name[:MAX_NAME_CHARACTERS] or str(_root_.hydra.job.num)


def gpus_per_node(*, _root_: DictConfig) -> int | None:
    """GPUs that a job asks SLURM for on each node; None on the CPU."""
    return None if _root_.trainer.accelerator == "cpu" else int(_root_.trainer.devices)


def _factor_values(config: DictConfig, choices: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in dict.fromkeys([*config.study.factors, *(RememberSweep.swept_keys or ())]):
        value = choices[key] if key in choices else OmegaConf.select(config, key)
        values[key] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return values


def run_folder() -> Path:
    """The folder that Hydra gave this run."""
    return Path(HydraConfig.get().runtime.output_dir)


def is_sweep() -> bool:
    """Whether this process carries out one job of a multirun."""
    return HydraConfig.get().mode == RunMode.MULTIRUN or RememberSweep.swept_keys is not None


def one_message(work: Callable[[], T]) -> T:
    """Do the work; an error that a user can mend becomes one message without a traceback.

    Raises:
        CompactHydraException: In place of a `SparrowError`; Hydra prints it and exits with 1.
    """
    try:
        return work()
    except SparrowError as error:
        raise CompactHydraException(f"{type(error).__name__}: {error}") from error


def compose_parent(config: ExperimentConfig) -> ExperimentConfig:
    """Settings of the experiment that `start_from` names, with this run's seeds and paths.

    Raises:
        ConfigError: If that experiment has another backbone than the run, whose own checkpoint would not be used.
    """
    assert config.start_from.experiment is not None
    overrides = [
        f"experiment={config.start_from.experiment}",
        f"seed={config.seed}",
        f"data_seed={config.data_seed}",
        *(f"paths.{key}='{value}'" for key, value in vars(config.paths).items()),
        f"trainer.progress_bar={config.trainer.progress_bar}",
        *config.start_from.overrides,
    ]
    parent = checked(compose("train", overrides=overrides), ExperimentConfig)
    _refuse_other_backbone(config, parent)
    return parent


def _refuse_other_backbone(config: ExperimentConfig, parent: ExperimentConfig) -> None:
    names = ["family", "tiny", "tiny_width", *([] if config.backbone.tiny else ["checkpoint", "revision"])]
    own, there = vars(config.backbone), vars(parent.backbone)
    unlike = [f"backbone.{name}={own[name]} (there {there[name]})" for name in names if own[name] != there[name]]
    if unlike:
        raise ConfigError(
            f"start_from.experiment={config.start_from.experiment} has another backbone than this run, which starts "
            f"from its model: {', '.join(unlike)}; give start_from.overrides the same or set start_from.experiment=null"
        )


def parent_folder(parent: ExperimentConfig) -> Path:
    """Where a run that others start from is kept: by what it is, not by who asked for it."""
    return Path(parent.paths.cache_root) / "runs" / run_id(parent)


def _quoted(argument: str) -> str:
    """The argument with home folders written out, and with quotes around an existing folder.

    Hydra's grammar has no `~` in a value, and the names of runs hold `=` and `,`.
    """
    argument = re.sub(r"(?<=[=,\[])~(?=/)", str(Path.home()), argument)
    key, _, value = argument.partition("=")
    if key in PATH_KEYS and not value.startswith(("'", '"')) and set("=,") & set(value) and Path(value).exists():
        return f"{key}='{value}'"
    return argument


def run_app(main: Callable[[], Any]) -> None:
    """Run a Hydra app; a multirun ends with its report, also when a job failed or the user stopped it."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(help_text(command_name(), str(sys.modules["__main__"].__doc__)))
        return
    sys.argv[1:] = [_quoted(argument) for argument in sys.argv[1:]]
    set_up()
    try:
        check_arguments(sys.argv[1:], SCHEMAS[command_name()])
    except SparrowError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    try:
        main()
    except KeyboardInterrupt as error:
        print("sparrow: interrupted", file=sys.stderr)
        sys.exit(ENDED_BY_SIGNAL + (error.args[0] if error.args else signal.SIGINT))
    finally:
        for folder in RememberSweep.folders:
            if any(folder.glob("*/run.json")):
                from sparrow.runs.report import end_of_sweep

                end_of_sweep(folder)
