"""From a composed configuration to checked settings, with every problem reported at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sparrow.app.arguments import FOR_ALL, OF_ALL_GROUPS, listed, near, offered, unknown_key
from sparrow.app.help import options_by_group
from sparrow.app.provenance import ITEM_GROUPS, config_folders, item_group, origin_of, without_package
from sparrow.app.trained_defaults import with_trained_defaults
from sparrow.core.errors import ConfigError
from sparrow.core.files import user_path
from sparrow.core.settings import MISSING_VALUE, REQUIRED, Problem, defaults, validated
from sparrow.core.tables import counted
from sparrow.runs.differences import leaves
from sparrow.runs.settings import recorded_choice
from sparrow.settings import NOT_CHOSEN, SCHEMAS, EvaluateConfig, ExperimentConfig, conflicts

T = TypeVar("T")
MADE_BY_HYDRA = "paths.output_root"  # its folders, before a setting is looked at
# What users name themselves: any known setting of such an item can be overridden, whether its file lists it or not.
NAMED_ITEMS = ("mixture.components", "source", "benchmark", "logger", "start_from.gates", "study.published")


def register_schemas() -> None:
    """Make the schemas known to Hydra by name.

    They are stored as plain values, so that a file with an unknown key still composes and `checked` can report all
    problems together instead of Hydra the first one.
    """
    store = ConfigStore.instance()
    for command, schema in SCHEMAS.items():
        plain = defaults(schema)
        node = OmegaConf.create(with_trained_defaults(plain) if schema is EvaluateConfig else plain)
        for key in NAMED_ITEMS:
            if (items := OmegaConf.select(node, key)) is not None:
                OmegaConf.set_struct(items, False)
        store.store(name=f"{command}_schema", node=node, provider="sparrow")


def checked(
    config: DictConfig,
    schema: type[T],
    origin: Callable[[str], str] = origin_of,
    further: Callable[[T], Iterable[tuple[str, str]]] = lambda settings: (),
) -> T:
    """The settings of a composed configuration.

    `origin` is what a message adds on where a key was written; `further` finds what else is wrong with valid settings,
    as (key, what is wrong and how to fix it).

    Raises:
        ConfigError: With every unknown key, wrong value, missing value and contradiction, each with its file.
    """

    def found_in(settings: Any) -> Iterable[tuple[str, str]]:
        return [*conflicts(settings), *_unknown_factors(settings), *further(settings)]

    problems: list[Problem] = []
    made = validated(schema, _resolved(config, problems), found_in)
    if not isinstance(made, list) and not problems:
        return made
    unresolved = {problem.key for problem in problems}
    problems += [p for p in made if p.key not in unresolved] if isinstance(made, list) else []
    written = dict(leaves(OmegaConf.to_container(config, resolve=False)))
    copied = {p.key for p in problems for q in problems if f"${{{q.key}}}" in str(written.get(p.key))}
    causes = _first_causes([problem for problem in problems if problem.key not in copied])
    found = [(p, p.key if p.written is None else p.written) for p in causes]
    lines = [*dict.fromkeys(f"{problem}{origin(key.partition('[')[0])}" for problem, key in found)]
    raise ConfigError("\n  ".join([f"{counted(len(lines), 'problem')} in the configuration:", *lines]))


def _first_causes(problems: Sequence[Problem]) -> Iterator[Problem]:
    """Problems with their fix, without those that only follow from a file without its package or an item not chosen."""
    options = options_by_group(config_folders())
    stray = {problem.key: path for problem in problems if (path := without_package(problem.key))}
    misplaced = {f"{item_group(key)}.{path.stem}": path for key, path in stray.items()}
    for item, path in misplaced.items():
        yield Problem(item, f"begin {path} with the line '# @package {item}'", written="")
    for problem in problems:
        group, _, name = problem.key.rpartition(".")[0].partition(".")
        item = f"{group}.{name}"
        chosen_by = [option for option in options.get(group, ()) if recorded_choice(option) == name]
        _, is_missing, hint = problem.what.partition(MISSING_VALUE)
        unchosen = problem.what.split("'")[1] if NOT_CHOSEN in problem.what else ""
        if problem.key in stray or item in misplaced or f"source.{unchosen}" in misplaced:
            continue
        if problem.key in OF_ALL_GROUPS:
            yield replace(problem, what=f"its settings belong to other groups: begin its file with {FOR_ALL}")
        elif group in ITEM_GROUPS and is_missing and (chosen_by or hint):
            own = f"{'+' if group == 'source' else ''}{group}"
            fix = f"choose it, as in {own}=[{chosen_by[0]}]" if chosen_by else hint.removeprefix(", or ")
            yield Problem(item, f"has settings, but was not chosen; {fix}")
        elif unchosen:
            fix = _source_fix(unchosen, options["source"])
            yield replace(problem, what=f"{problem.what}; {fix}")
        else:
            yield problem


def _source_fix(name: str, options: Sequence[str]) -> str:
    """How to choose a source that a component names, or the one that was meant, if there is any."""
    for option in options:
        if recorded_choice(option) == name:
            return f"add it to the mixture's defaults, or from the shell: +source=[{option}]"
    found = near(name, options)
    meant = f"did you mean '{recorded_choice(found)}', chosen with +source=[{found}]?"
    return meant if found else f"there are {listed(recorded_choice([*options]))}"


def _unknown_factors(config: ExperimentConfig | EvaluateConfig) -> Iterable[tuple[str, str]]:
    """Factors of the study that are neither a setting nor a group: all runs would have the value null in them."""
    groups = offered(options_by_group(config_folders()), type(config))
    for factor in config.study.factors:
        if factor not in groups and (unknown := unknown_key(factor, type(config), groups)) is not None:
            yield "study.factors", unknown


def _resolved(config: DictConfig, problems: list[Problem]) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)

    def walk(node: Any, value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {k: walk(node._get_node(k), v, f"{key}.{k}" if key else str(k)) for k, v in value.items()}
        if isinstance(value, list):
            return [walk(node._get_node(i), v, f"{key}[{i}]") for i, v in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            try:
                resolved = OmegaConf.select(config, key, throw_on_missing=False)
            except OmegaConfBaseException as error:
                problems.append(Problem(key, str(error).splitlines()[0]))
                return REQUIRED  # so that what is wrong elsewhere is found too
            value = OmegaConf.to_container(resolved, resolve=True) if OmegaConf.is_config(resolved) else resolved
        if key == MADE_BY_HYDRA and isinstance(value, str) and value.startswith("~/"):
            problems.append(Problem(key, f"Hydra takes ~ for a name here; write ${{oc.env:HOME}}{value[1:]}"))
        return user_path(value) if isinstance(value, str) else value

    return cast(dict[str, Any], walk(config, plain, ""))
