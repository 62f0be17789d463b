"""Scenes: events in which one coloured shape moves, drawn as frames on a torus and told in sentences."""

from __future__ import annotations

from functools import cache
from itertools import product
from random import Random
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparrow.media import TextStyle, render_text

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 45, 45),
    "green": (40, 175, 70),
    "blue": (60, 95, 240),
    "yellow": (240, 215, 50),
    "white": (245, 245, 245),
    "pink": (235, 90, 210),
}
SHAPES = ("circle", "square", "triangle", "cross")
DIRECTIONS: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}

GRID_CELLS = 8
QUARTER_CELLS = GRID_CELLS // 2
SPRITE_CELLS = 3
STEP_CELLS = 2
FRAMES_PER_EVENT = 2
# Not black: a frame of zeros counts as padding in some model families.
BACKGROUND = (40, 40, 44)


class Event(NamedTuple):
    """One shape that moves `STEP_CELLS` from the cell `(column, row)`, the upper left corner of its sprite."""

    colour: str
    shape: str
    direction: str
    column: int
    row: int

    @property
    def sentence(self) -> str:
        """The event in words; always five, so that pages of five words hold one event each."""
        return f"a {self.colour} {self.shape} moves {self.direction}."

    @property
    def horizontal(self) -> str:
        """The half of the picture that the centre of an unmoved sprite is in."""
        return "left" if 2 * self.column + SPRITE_CELLS < GRID_CELLS else "right"

    @property
    def vertical(self) -> str:
        """The half of the picture that the centre of an unmoved sprite is in."""
        return "top" if 2 * self.row + SPRITE_CELLS < GRID_CELLS else "bottom"


Scene = tuple[Event, ...]
_EVENTS = [Event(*values) for values in product(COLOURS, SHAPES, DIRECTIONS, range(GRID_CELLS), range(GRID_CELLS))]


def random_scene(num_events: int, rng: Random) -> Scene:
    """Independent events, one after another, each attribute and start uniform: no part tells of another."""
    return tuple(rng.choices(_EVENTS, k=num_events))


def random_still_scene(num_shapes: int, rng: Random) -> Scene:
    """Shapes for one picture: whole, of different colours and shapes; several each in a quarter of their own.

    A quarter is what one visual token of the scale model sees.
    """
    colours, shapes = rng.sample(tuple(COLOURS), num_shapes), rng.sample(SHAPES, num_shapes)
    corners: list[tuple[int, ...]] = [(0, 0)]
    side = GRID_CELLS
    if num_shapes > 1:
        corners, side = rng.sample(tuple(product((0, QUARTER_CELLS), repeat=2)), num_shapes), QUARTER_CELLS
    inside = range(side - SPRITE_CELLS + 1)
    cells = [(column + rng.choice(inside), row + rng.choice(inside)) for column, row in corners]
    return tuple(
        Event(colour, shape, rng.choice(tuple(DIRECTIONS)), *cell)
        for colour, shape, cell in zip(colours, shapes, cells, strict=True)
    )


@cache
def _sprite(shape: str, size_px: int) -> NDArray[np.bool_]:
    v, u = (np.indices((size_px, size_px)) + 0.5) / size_px * 2 - 1
    masks = {
        "circle": u**2 + v**2 <= 1,
        "square": np.maximum(abs(u), abs(v)) <= 0.92,
        "triangle": abs(u) <= (v + 1) / 2,
        "cross": np.minimum(abs(u), abs(v)) <= 0.3,
    }
    return masks[shape]


def _draw(frame: NDArray[np.uint8], event: Event, step: int) -> None:
    cell_px = frame.shape[0] // GRID_CELLS
    sprite = _sprite(event.shape, SPRITE_CELLS * cell_px)
    dx, dy = DIRECTIONS[event.direction]
    rows, columns = np.nonzero(sprite)
    rows = (rows + (event.row + step * STEP_CELLS * dy) * cell_px) % frame.shape[0]
    columns = (columns + (event.column + step * STEP_CELLS * dx) * cell_px) % frame.shape[1]
    frame[rows, columns] = COLOURS[event.colour]


def draw_still(scene: Scene, size_px: int) -> NDArray[np.uint8]:
    """All shapes of a scene where they start, in one picture: uint8 [1, size, size, 3]."""
    frame = np.full((size_px, size_px, 3), BACKGROUND, dtype=np.uint8)
    for event in scene:
        _draw(frame, event, 0)
    return frame[None]


def draw_page(scene: Scene, size_px: int) -> NDArray[np.uint8]:
    """The events as pages of text, one an event, in the style of `scale=tiny`: uint8 [events, size, size, 3]."""
    style = TextStyle(page_width_px=size_px, page_height_px=size_px, font_size_px=10, margin_px=1, words_per_page=5)
    return np.stack(render_text(tell(scene), style))[..., None].repeat(3, axis=-1)


def draw_frames(scene: Scene, size_px: int) -> NDArray[np.uint8]:
    """The events one after another: uint8 [FRAMES_PER_EVENT * events, size, size, 3]."""
    frames = np.full((FRAMES_PER_EVENT * len(scene), size_px, size_px, 3), BACKGROUND, dtype=np.uint8)
    for i, frame in enumerate(frames):
        _draw(frame, scene[i // FRAMES_PER_EVENT], i % FRAMES_PER_EVENT)
    return frames


def tell(scene: Scene) -> str:
    """The events in words, a line each."""
    return "\n".join(event.sentence for event in scene)
