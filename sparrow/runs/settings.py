"""Settings of a study, and of where runs read and write."""

from __future__ import annotations

from typing import Any, Literal

from sparrow.core.settings import REQUIRED, setting, settings


@settings
class Study:
    """The question of a set of runs, what it varies on purpose, and what was published (docs/studies.md)."""

    name: str = setting("folder of the study's runs", default="untitled")
    question: str = setting("what the study is to answer", default="")
    factors: list[str] = setting("groups and settings that it varies on purpose", default_factory=list)
    metric: str | None = setting("BENCHMARK or BENCHMARK.PHASE, whose score a sweeper maximises", default=None)
    baseline: str | None = setting(
        "arm or curve that others are compared with: its label, the value of a factor, or factors as `a=1, b=x`; "
        "null: the first one",
        default=None,
    )
    primary: list[str] = setting(
        "benchmarks on which arms are judged: p values are adjusted over these comparisons; empty: over all",
        default_factory=list,
    )
    fit: Literal["logarithm", "power_law"] = setting("form of learning curves", default="logarithm")
    published: dict[str, Any] = setting("published numbers to print beside ours", default_factory=dict)


@settings
class Paths:
    """Where data is read, runs are written, and what can be made again is kept."""

    data_root: str = setting("folder of the data sets", default=REQUIRED)
    output_root: str = setting("folder of the runs", default=REQUIRED)
    cache_root: str = setting("folder of what can be made again", default=REQUIRED)
