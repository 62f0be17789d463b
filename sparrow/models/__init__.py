"""Families of image-LLMs behind one interface: loading, tokens, pixels, tuning, tiny siblings."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparrow.models.loading import load_backbone

__all__ = ["load_backbone"]


def __getattr__(name: str) -> Any:
    """Import torch and transformers only where a backbone is loaded: settings are checked without them."""
    if name == "load_backbone":
        from sparrow.models.loading import load_backbone

        return load_backbone
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
