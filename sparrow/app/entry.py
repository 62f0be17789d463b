"""Runs a Hydra command: registers what Hydra must know, checks the arguments, writes the report of a sweep."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra._internal import utils as hydra_utils
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException
from tqdm.contrib.logging import logging_redirect_tqdm

from sparrow.app.arguments import check_arguments, flags_apart, near_hint, no_launcher
from sparrow.app.current_job import gpus_per_node, of_data, run_name, study_folder
from sparrow.app.help import CONF_FOLDER, help_text, options_by_group
from sparrow.app.launching import register_launchers
from sparrow.app.launching.multirun import JobError
from sparrow.app.provenance import quoted_paths
from sparrow.app.remember_sweep import RememberSweep, run_files
from sparrow.app.renamed import RENAMED, register_renamed_choices
from sparrow.app.schema import checked, register_schemas
from sparrow.app.trained_defaults import as_trained, of_protocol
from sparrow.app.user_errors import message_of
from sparrow.core.errors import ConfigError, RunError
from sparrow.core.files import content_of, user_path
from sparrow.runs.settings import PROJECT_MARKER
from sparrow.settings import SCHEMAS

log = logging.getLogger(__name__)
CONFIG_PATH = "pkg://sparrow.conf"


def set_up() -> None:
    """Register schemas, launchers and resolvers; to be called before Hydra composes."""
    register_schemas()
    register_launchers()
    register_renamed_choices()
    for resolver in (as_trained, of_protocol, user_path, study_folder, of_data, run_name, gpus_per_node):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)


def _quoted(argument: str) -> str:
    """The argument with home folders written out, and with quotes where paths need them in Hydra's grammar."""
    argument = re.sub(r"(?<=[=,\['\"])~(?=/)", str(Path.home()), argument)
    key, sign, value = argument.partition("=")
    return argument if key.startswith("-") else f"{key}{sign}{quoted_paths(value)}"


def _of_project(arguments: list[str]) -> list[str]:
    """The arguments with the `conf/` of the project in or below whose folder the command runs, unless they name one."""
    root = next((folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / PROJECT_MARKER).is_file()), None)
    known, _ = hydra_utils.get_args_parser().parse_known_intermixed_args(arguments)
    if root is None or known.config_dir or known.config_path:
        return arguments
    print(f"project {root}: settings of its conf/, runs in its outputs/", file=sys.stderr)
    os.environ.setdefault("SPARROW_OUTPUT_ROOT", str(root / "outputs"))
    os.environ.setdefault("SPARROW_CACHE_ROOT", str(root / ".cache/sparrow"))
    return [*arguments, "--config-dir", str(root / "conf")]


def _with_plus(arguments: list[str]) -> list[str]:
    """The arguments with Hydra's plus where it is needed for a name that is known.

    No command has sources before a mixture brings some, and any option of sbatch may be given.
    """
    if not any(argument.startswith(("mixture=", "experiment=")) for argument in arguments):
        arguments = [re.sub("^source=", "+source=", argument) for argument in arguments]
    return [re.sub(r"^(?=hydra\.launcher\.additional_parameters\.)", "++", argument) for argument in arguments]


def _missing_choice(error: MissingConfigException) -> str:
    """What a file names that is not there, and what is near."""
    path, groups = error.missing_cfg_file or "", options_by_group()
    group = next((group for group in groups if path.startswith(f"{group}/")), "")
    name, options = path.removeprefix(f"{group}/"), [*groups.get(group, ()), *(error.options or ())]
    if group == "hydra/launcher":
        return no_launcher(name, options)
    hint = near_hint(name, [option for option in options if option not in RENAMED.get(group, {})])
    return f"{str(error).splitlines()[0]}{hint if options else ''}"


def _reported(report: Callable[[Callable[[], Any]], Any], work: Callable[[], Any]) -> Any:
    """What Hydra does, with its own report of an error, unless the command line has a message for it."""
    try:
        return work()
    except MissingConfigException as error:
        raise ConfigError(_missing_choice(error)) from None
    except JobError:
        sys.exit(1)  # told by `name_failures`
    except HydraException as error:
        cause = f": {error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else ""
        raise ConfigError(f"{error}{cause}") from error
    except InterpolationResolutionError as error:  # in which OmegaConf wraps what a resolver raises
        if told := str(error).partition("ConfigError raised while resolving interpolation: ")[2]:
            raise ConfigError(told.splitlines()[0]) from None
        fault: Exception = error
    except Exception as error:
        if message_of(error) is not None:
            raise
        fault = error

    def failing() -> None:
        raise fault

    return report(failing)


def _value_of(result: JobReturn) -> Any:
    """What a job returned, or its error, before which Hydra's own property prints a line of its own."""
    if result.status == JobStatus.FAILED:
        raise result._return_value
    return result._return_value


def run_app(command: str, arguments: list[str], purpose: str) -> None:
    """Run a Hydra command, whose help begins with `purpose`; a multirun ends with its report, however it ended."""
    arguments = _of_project(arguments)
    help_at = next((place for place, argument in enumerate(arguments) if argument in ("-h", "--help")), None)
    if help_at is not None:
        known, _ = hydra_utils.get_args_parser().parse_known_intermixed_args(arguments)
        folders = [CONF_FOLDER, *([Path(known.config_dir)] if known.config_dir else [])]
        group = "".join(arguments[help_at + 1 : help_at + 2])
        if group and not group.startswith("-") and "=" not in group:
            from sparrow.app.settings_help import group_help

            print(group_help(command, group, folders))
        else:
            print(help_text(command, f"`sparrow {command}`: {purpose}.", folders))
        return
    arguments = flags_apart(_with_plus([_quoted(argument) for argument in arguments]))
    set_up()
    check_arguments(arguments, SCHEMAS[command], partial(_further_problems, command))
    hydra_utils.run_and_report = partial(_reported, hydra_utils.run_and_report)
    JobReturn.return_value = JobReturn.return_value.getter(_value_of)  # type: ignore[attr-defined, method-assign]
    sys.argv[1:] = arguments  # which Hydra reads
    ended_well = False
    try:
        hydra.main(version_base="1.3", config_path=CONFIG_PATH, config_name=command)(_task(command, arguments))()
        ended_well = True
    finally:
        for folder, before in RememberSweep.folders.items():
            # An old report under the error of a sweep that was refused would pass for the report of that sweep.
            if (runs := run_files(folder)) and (ended_well or runs != before):
                from sparrow.report.output import end_of_sweep

                end_of_sweep(folder)


def _further_problems(command: str, overrides: list[str]) -> list[str]:
    """What is wrong with the settings; nothing where they cannot be composed, as those of a sweep."""
    try:
        with hydra.initialize_config_module("sparrow.conf", version_base="1.3"):
            checked(hydra.compose(command, overrides), SCHEMAS[command])
    except ConfigError as error:
        return [line.strip() for line in str(error).splitlines()[1:]]
    except HydraException:
        pass
    return []


def _check_launcher(arguments: Sequence[str]) -> None:
    """Refuse a launcher that is not Sparrow's, or that is typed where it has nothing to do and `hydra.mode` is not."""
    settings = HydraConfig.get()
    launcher, target = settings.runtime.choices["hydra/launcher"], settings.launcher._target_
    if settings.mode == RunMode.MULTIRUN and not target.startswith("hydra_plugins.sparrow."):
        raise ConfigError(f"hydra/launcher={launcher} starts {target}; begin its file with defaults: [slurm]")
    typed = {argument.partition("=")[0] for argument in arguments}
    if launcher == "sequential" or settings.mode == RunMode.MULTIRUN or "hydra.mode" in typed:
        return
    if "hydra/launcher" in typed:
        raise ConfigError(f"hydra/launcher={launcher} carries out the jobs of a multirun: add -m, or leave it out")
    log.warning("this is one run, carried out here: hydra/launcher=%s is for multiruns (-m)", launcher)


@contextmanager
def _no_trace_of_a_refusal() -> Iterator[None]:
    """Remove what Hydra wrote of an attempt that was refused before `run.json` was touched."""
    settings = HydraConfig.get()
    folder, log = Path(settings.runtime.output_dir), f"{settings.job.name}.log"
    before = content_of(folder / "run.json")
    try:
        yield
    except (ConfigError, RunError):
        if settings.output_subdir and "/" in settings.output_subdir and content_of(folder / "run.json") == before:
            attempt = folder / settings.output_subdir
            shutil.rmtree(attempt, ignore_errors=True)
            if not content_of(folder / log):
                (folder / log).unlink(missing_ok=True)
            for path in (attempt.parent, folder):
                with suppress(OSError):  # there is more in it
                    path.rmdir()
        raise


def _task(command: str, arguments: list[str]) -> Callable[[DictConfig], float | None]:
    """The work of one job of a command, imported when it begins, so that settings are shown without torch."""

    def task(config: DictConfig) -> float | None:
        with _no_trace_of_a_refusal(), logging_redirect_tqdm() if sys.stderr.isatty() else nullcontext():
            _check_launcher(arguments)
            from sparrow.app.jobs import JOBS

            sys.argv[1:] = [command, *arguments]  # by which Lightning starts further ranks
            return JOBS[command](config)

    task.__module__ = f"sparrow.{command}"  # after whose last part Hydra names the job and its log
    return task
