"""From records to batches: sources, mixtures, the plan, encoding, batching."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparrow.data.plan import PlanInputs
    from sparrow.data.plan_builder import build_plan
    from sparrow.data.sources import load_source

__all__ = ["PlanInputs", "build_plan", "load_source"]
_MODULES = {"PlanInputs": "plan", "build_plan": "plan_builder", "load_source": "sources"}


def __getattr__(name: str) -> Any:
    """Import pandas and torch only where data is read: what lies beside, as the records of chats, needs neither."""
    if name in _MODULES:
        return getattr(import_module(f"sparrow.data.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
