"""Families of image-LLMs behind one interface: loading, tokens, pixels, tuning, tiny siblings."""

from typing import TYPE_CHECKING

from sparrow.core.lazy import exports

if TYPE_CHECKING:
    from sparrow.models.loading import LoadOptions, load_backbone

__all__ = ["LoadOptions", "load_backbone"]

__getattr__ = exports(__name__, LoadOptions="loading", load_backbone="loading")
