"""Choices under the names that they had before: they still resolve in this round, with a note."""

from __future__ import annotations

import sys
from functools import cache

from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin

from sparrow.runs.status import is_main_process

_CLAIMS = "all_kinds common_text half_video one_template other_words plain_text sparrow video"
_SOURCES = "clips clips_all_kinds event_texts event_texts_common event_texts_one_template event_texts_other_words"
_BENCHMARKS = "absent_long absent_short common_long common_short long rare_long rare_rephrased rare_short short"
# Group, then old name to new name. Without it and this module, the old names are gone.
RENAMED = {
    "mixture": {
        **{f"claim_{name}": f"world/claim_{name}" for name in _CLAIMS.split()},
        **{f"world_{name}": f"world/{name}" for name in ("pretraining", "sparrow", "video")},
    },
    "source": {f"world_{name}": f"world/{name}" for name in (*_SOURCES.split(), "pages", "stills")},
    "benchmark": {f"world_{name}": f"world/{name}" for name in (*_BENCHMARKS.split(), "pages", "stills")},
}


class RenamedChoices(ImportlibResourcesConfigSource):
    """Finds the files of choices under their old names, after all other folders were searched."""

    @staticmethod
    def scheme() -> str:
        """The scheme of its place in the search path."""
        return "renamed"

    def load_config(self, config_path: str) -> ConfigResult:
        """Read the file of the new name."""
        group, old = _parts(config_path)
        _say(group, old)
        return super().load_config(f"{group}/{RENAMED[group][old]}")

    def is_config(self, config_path: str) -> bool:
        """Whether it is the old name of a choice."""
        group, old = _parts(config_path)
        return old in RENAMED.get(group, {})

    def is_group(self, config_path: str) -> bool:
        """Whether choices of the group were renamed."""
        return config_path.rstrip("/") in RENAMED

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Old names of a group, for patterns such as `glob(claim_*)`."""
        return [*RENAMED.get(config_path, {})] if results_filter != ObjectType.GROUP else []


class SearchRenamedChoices(SearchPathPlugin):
    """Puts them last into Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append them."""
        search_path.append("renamed", f"{RenamedChoices.scheme()}://sparrow.conf")


def register_renamed_choices() -> None:
    """Make the old names known to Hydra."""
    for plugin in (RenamedChoices, SearchRenamedChoices):
        Plugins.instance().register(plugin)


def _parts(config_path: str) -> tuple[str, str]:
    group, _, name = config_path.partition("/")
    return group, name.removesuffix(".yaml")


@cache
def _say(group: str, old: str) -> None:
    if is_main_process():
        new = RENAMED[group][old]
        print(f"note: {group}={old} is now {group}={new}; the old name goes with the next release", file=sys.stderr)
