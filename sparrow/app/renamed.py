"""Choices under the names that they had before: they still resolve in this round, with a note."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra._internal.sources_registry import SourcesRegistry

_CLAIMS = "all_kinds common_text half_video one_template other_words plain_text sparrow video"
_SOURCES = "clips clips_all_kinds event_texts event_texts_common event_texts_one_template event_texts_other_words"
_BENCHMARKS = "absent_long absent_short common_long common_short long rare_long rare_rephrased rare_short short"
# Group, then old name to new name. With this module the old names go.
RENAMED = {
    "mixture": {f"claim_{name}": f"world/claim_{name}" for name in _CLAIMS.split()}
    | {f"world_{name}": f"world/{name}" for name in ("pretraining", "sparrow", "video")},
    "source": {f"world_{name}": f"world/{name}" for name in (*_SOURCES.split(), "pages", "stills")},
    "benchmark": {f"world_{name}": f"world/{name}" for name in (*_BENCHMARKS.split(), "pages", "stills")},
}


class _FilesOfChoices(ImportlibResourcesConfigSource):
    """The package's files, found by their old names too."""

    def load_config(self, config_path: str) -> Any:
        return super().load_config(_current(config_path))

    def is_config(self, config_path: str) -> bool:
        return super().is_config(_current(config_path))

    def list(self, config_path: str, results_filter: Any) -> list[str]:
        """With the old names, for a sweep such as `mixture=glob(claim_*)`."""
        return [*super().list(config_path, results_filter), *RENAMED.get(config_path, {})]


def register_renamed_choices() -> None:
    """Let Hydra find the old names, wherever it composes."""
    SourcesRegistry.instance().types["pkg"] = _FilesOfChoices


@cache
def _current(config_path: str) -> str:
    """The path of a choice's file by its new name; a note says it once."""
    group, _, old = config_path.removesuffix(".yaml").partition("/")
    new = RENAMED.get(group, {}).get(old)
    if new is None:
        return config_path
    print(f"note: {group}={old} is now {group}={new}; the old name goes with the next release", file=sys.stderr)
    return f"{group}/{new}"
