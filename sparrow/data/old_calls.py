"""Calls of an earlier interface, which go on for one release with a warning that shows the new call."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from sparrow.data import plan_builder
from sparrow.data.mixture import Selection
from sparrow.data.plan import Plan, PlanInputs
from sparrow.data.rejecting import BadSamples
from sparrow.data.settings import Batching

NEW_CALL = (
    "this call goes with the next release; write build_plan(selections, PlanInputs(sources, presentations, backbone), "
    "Batching(name='padded', micro_batch_size_samples=1, ...), data_seed=..., bad_samples=BadSamples(...))"
)
DEFAULTS: dict[str, Any] = {"name": "padded", "micro_batch_size_samples": 1, "num_workers": 0, "sample_timeout_s": 0}


def build_plan(selections: Sequence[Selection], *arguments: Any, **options: Any) -> Plan:
    """As `plan_builder.build_plan`, which the former arguments are turned into."""
    given = dict(zip(("sources", "backbone", "presentations"), arguments, strict=False)) | options
    if "sources" not in given or isinstance(given["sources"], PlanInputs):
        return plan_builder.build_plan(selections, *arguments, **options)
    warnings.warn(NEW_CALL, FutureWarning, stacklevel=2)
    inputs = PlanInputs(given.pop("sources"), given.pop("presentations"), given.pop("backbone"))
    bad_samples = BadSamples(given.pop("on_bad_sample", "fail"), given.pop("max_bad_fraction", 0.0))
    kept = {name: given.pop(name) for name in ("data_seed", "tuning", "cache_root") if name in given}
    batching = Batching(**(DEFAULTS | {"name" if key == "batching" else key: v for key, v in given.items()}))
    return plan_builder.build_plan(selections, inputs, batching, bad_samples=bad_samples, **kept)
