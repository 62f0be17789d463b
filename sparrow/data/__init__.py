"""From records to batches: sources, mixtures, the plan, encoding, batching."""

from typing import TYPE_CHECKING

from sparrow.core.lazy import exports

if TYPE_CHECKING:
    from sparrow.data.old_calls import build_plan
    from sparrow.data.plan import PlanInputs
    from sparrow.data.sources import load_source

__all__ = ["PlanInputs", "build_plan", "load_source"]

__getattr__ = exports(__name__, PlanInputs="plan", build_plan="old_calls", load_source="sources")
