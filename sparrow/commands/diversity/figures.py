"""The pictures of diversity: instructions by source in a plane, templates, and what a source adds to another."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sparrow.commands.diversity.projection import Projection
from sparrow.core.files import write_atomically
from sparrow.instructions.source_comparison import SourceComparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito's palette, told apart by the colour-blind; the shapes are for black and white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#B8A900")
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*", "<")
MAX_COLUMNS = 3
MAX_NAME_CHARACTERS = 28
MAX_TEMPLATE_CHARACTERS = 56
STYLE = {"font.size": 9, "text.parse_math": False, "pdf.fonttype": 42}


def looks(number: int) -> tuple[str, str]:
    """Colour and marker of a source by its number; 72 sources look different."""
    return COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]


def write_pictures(comparison: SourceComparison, projections: Sequence[Projection], folder: Path) -> list[Path]:
    """Write every picture as PNG and PDF: `t-sne`, `pca`, `templates`, `overlap`."""
    from matplotlib import rc_context

    with rc_context(STYLE):
        figures = {projection.name.lower(): scatter(projection) for projection in projections}
        figures["templates"] = templates(comparison)
        figures["overlap"] = overlap(comparison)
        return [path for name, figure in figures.items() for path in _save(figure, folder / name)]


def scatter(projection: Projection) -> Figure:
    """All sources in one panel, then each of several in a panel of its own before the others in grey."""
    names = [name for name, points in projection.points.items() if len(points)]
    everything = np.concatenate([projection.points[name] for name in names])
    size_pt2 = float(np.clip(6_000 / len(everything), 2, 22))
    style: dict[str, Any] = {"s": size_pt2, "linewidths": 0, "rasterized": True}
    panels = [None, *names] if len(names) > 1 else [None]
    columns = min(MAX_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = _figure(3.1 * columns, 3.35 * rows + 0.2 * -(-len(names) // columns) + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, shown in zip(grid, panels, strict=False):
        others = [projection.points[name] for name in names if name != shown]
        if shown is not None:
            axes.scatter(*np.concatenate(others).T, color="0.85", **style)
        for number, name in enumerate(projection.points):
            if name in names and shown in (None, name):
                colour, marker = looks(number)
                look = {"color": colour, "marker": marker, "label": _short(name) if shown is None else None}
                axes.scatter(*projection.points[name].T, alpha=0.75, **look, **style)
        title = f"{projection.name} of instructions" if shown is None else _short(shown)
        axes.set(title=title, xticks=[], yticks=[])
        axes.set_box_aspect(1)
    legend = figure.legend(loc="outside lower center", ncols=columns, frameon=False, markerscale=1)
    for handle in legend.legend_handles:
        handle.set(sizes=[34], alpha=1)
    return figure


def templates(comparison: SourceComparison) -> Figure:
    """The most frequent templates of each source, by the share of its instructions that follow them."""
    sources = {name: measured for name, measured in comparison.sources.items() if measured.templates}
    if not sources:
        figure = _figure(7.5, 1)
        figure.text(0.5, 0.5, "no template is followed by two instructions of a source", ha="center", va="center")
        return figure
    heights = [0.8 + 0.24 * len(measured.templates) for measured in sources.values()]
    figure = _figure(7.5, 0.4 + sum(heights))
    largest = max(100 * measured.templates[0].share for measured in sources.values())
    grid = figure.subplots(len(sources), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
    numbers = {name: number for number, name in enumerate(comparison.sources)}
    for axes, (name, measured) in zip(grid, sources.items(), strict=True):
        shares = [100 * template.share for template in measured.templates]
        axes.barh(range(len(shares)), shares, 0.7, color=looks(numbers[name])[0], edgecolor="black", linewidth=0.5)
        for place, share in enumerate(shares):
            axes.text(share + largest / 100, place, f"{share:.1f} %", va="center", fontsize=7)
        words = (template.words or "(no words)" for template in measured.templates)
        labels = [textwrap.shorten(text, MAX_TEMPLATE_CHARACTERS, placeholder=" [...]") for text in words]
        axes.set_yticks(range(len(shares)), labels, fontsize=7)
        axes.set_ylim(len(shares) - 0.4, -0.6)
        axes.set_title(_short(name), loc="left", fontweight="bold")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlim(0, 1.15 * largest)
    grid[-1].set_xlabel("instructions that follow the template (%); # a number, … rare words")
    return figure


def overlap(comparison: SourceComparison) -> Figure:
    """Distances of the instructions of a row to the nearest of a column; light where a row adds little to a column."""
    names = [_short(name) for name in comparison.sources]
    side = 1.6 + 0.75 * len(names)
    figure = _figure(side + 1.2, side)
    axes = figure.subplots()
    distances = np.array(comparison.distances).reshape(len(names), len(names))
    image = axes.imshow(distances, cmap="cividis_r", vmin=0, vmax=max(1.0, distances.max(initial=0)))
    for row, column in np.ndindex(distances.shape):
        distance = distances[row, column]
        colour = "white" if image.norm(distance) > 0.5 else "black"
        axes.text(column, row, f"{distance:.2f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("nearest instruction of")
    axes.set_ylabel("instructions of")
    figure.colorbar(image, ax=axes, label="mean cosine distance", shrink=0.8)
    return figure


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _short(name: str) -> str:
    return name if len(name) <= MAX_NAME_CHARACTERS else name[: MAX_NAME_CHARACTERS - 1] + "…"


def _save(figure: Figure, path: Path) -> list[Path]:
    saved = []
    for suffix, options in ((".png", {"dpi": 150}), (".pdf", {"dpi": 200, "metadata": {"CreationDate": None}})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], **options)
        write_atomically(path.with_suffix(suffix), buffer.getvalue())
        saved.append(path.with_suffix(suffix))
    return saved
