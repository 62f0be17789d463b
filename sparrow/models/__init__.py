"""Families of image-LLMs behind one interface: loading, tokens, pixels, tuning, tiny siblings."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sparrow.models.loading import LoadOptions, load_backbone

__all__ = ["LoadOptions", "load_backbone"]


def __getattr__(name: str) -> Any:
    """Import torch and transformers only where a backbone is loaded: settings are checked without them."""
    if name in __all__:
        from sparrow.models import loading

        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
