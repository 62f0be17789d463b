"""A procedural world of moving shapes, written as files in the schemas of real sources."""

from typing import TYPE_CHECKING

from sparrow.core.lazy import exports

if TYPE_CHECKING:
    from sparrow.world.generate import TABLES, WorldTable
    from sparrow.world.settings import WorldSettings
    from sparrow.world.vocabulary import world_texts
    from sparrow.world.write import ensure_world

__all__ = ["TABLES", "WorldSettings", "WorldTable", "ensure_world", "world_texts"]

__getattr__ = exports(
    __name__,
    TABLES="generate",
    WorldSettings="settings",
    WorldTable="generate",
    ensure_world="write",
    world_texts="vocabulary",
    renamed={"Table": "WorldTable"},
)
