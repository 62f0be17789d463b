"""The families that Sparrow knows, by the name that `backbone.family` takes."""

from __future__ import annotations

from difflib import get_close_matches

from sparrow.core.errors import BackboneError
from sparrow.models.backbone import Backbone
from sparrow.models.idefics3 import Idefics3

FAMILIES: dict[str, type[Backbone]] = {adapter.family: adapter for adapter in (Idefics3,)}


def find_family(name: str) -> type[Backbone]:
    """The adapter of a family.

    Raises:
        BackboneError: If there is none of that name; near names are offered.
    """
    if name not in FAMILIES:
        near = get_close_matches(name, FAMILIES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(FAMILIES))}"
        raise BackboneError(f"unknown backbone.family '{name}'; {hint}")
    return FAMILIES[name]
