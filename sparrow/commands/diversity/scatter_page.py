"""One HTML page on which every point of a projection shows its instruction; it needs nothing from outside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sparrow.commands.diversity.figures import MARKERS, looks
from sparrow.commands.diversity.measure import Sampled
from sparrow.commands.diversity.projection import Projection
from sparrow.core.files import write_atomically
from sparrow.core.templating import render
from sparrow.instructions.settings import METRICS
from sparrow.settings import DiversityConfig

GRID = 4_000
SHAPES = dict(zip(MARKERS, "circle up square diamond down plus cross star left".split(), strict=True))


def write_page(sampled: Sampled, projections: Sequence[Projection], path: Path, config: DiversityConfig) -> Path:
    """Write the page; equal input gives equal bytes."""
    names = list(projections[0].points) if projections else []
    looking = ((name, *looks(number)) for number, name in enumerate(names))
    data = {
        "sources": [{"name": name, "colour": colour, "shape": SHAPES[marker]} for name, colour, marker in looking],
        "texts": [sampled.texts[name][: len(projections[0].points[name])] for name in names],
        "planes": [{"name": plane.name, "points": _whole(plane)} for plane in projections],
    }
    # Inside a script element only `<` could end it; escaped, the data stays JSON.
    script = json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    page = render(
        "diversity.html.jinja",
        config=config,
        comparison=sampled.comparison,
        metrics={name: METRICS[name] for name in config.metrics},
        notes=sampled.notes,
        data=script,
        grid=GRID,
    )
    write_atomically(path, page.encode("utf-8", "backslashreplace"))
    return path


def _whole(plane: Projection) -> list[list[int]]:
    """Coordinates by source, x and y in turns, as whole numbers from 0 to GRID, the aspect kept."""
    points = np.concatenate(list(plane.points.values()))
    low, size = points.min(axis=0), float(np.ptp(points, axis=0).max()) or 1.0
    return [np.rint((own - low) / size * GRID).astype(int).ravel().tolist() for own in plane.points.values()]
