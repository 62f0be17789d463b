"""A procedural world of moving shapes, written as files in the schemas of real sources."""

from sparrow.world.generate import TABLES, WorldTable
from sparrow.world.settings import WorldSettings
from sparrow.world.vocabulary import world_texts
from sparrow.world.write import ensure_world

__all__ = ["TABLES", "WorldSettings", "WorldTable", "ensure_world", "world_texts"]
