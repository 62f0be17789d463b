"""From records to batches: sources, mixtures, the plan, encoding, batching."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparrow.data.plan_builder import build_plan
    from sparrow.data.sources import load_source

__all__ = ["build_plan", "load_source"]


def __getattr__(name: str) -> Any:
    """Import pandas and torch only where data is read: what lies beside, as the records of chats, needs neither."""
    if name == "build_plan":
        from sparrow.data.plan_builder import build_plan

        return build_plan
    if name == "load_source":
        from sparrow.data.sources import load_source

        return load_source
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
