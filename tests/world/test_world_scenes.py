from random import Random

import numpy as np
import pytest

from sparrow.world.scenes import (
    BACKGROUND,
    COLOURS,
    DIRECTIONS,
    GRID_CELLS,
    SHAPES,
    Event,
    draw_frames,
    draw_still,
    random_scene,
    random_still_scene,
    tell,
)


def test_an_event_is_told_in_five_words():
    assert tell((Event("red", "circle", "left", 0, 0), Event("blue", "cross", "up", 3, 3))) == (
        "a red circle moves left.\na blue cross moves up."
    )


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_that_leaves_comes_back_at_the_other_side(shape, direction):
    dx, dy = DIRECTIONS[direction]
    for column in range(GRID_CELLS):
        first, second = draw_frames((Event("pink", shape, direction, column, GRID_CELLS - 1),), 64)
        assert np.array_equal(second, np.roll(first, (16 * dy, 16 * dx), axis=(0, 1)))


def test_frames_show_only_their_own_event_on_a_ground_that_is_not_zero():
    frames = draw_frames((Event("red", "square", "left", 0, 0), Event("blue", "circle", "up", 5, 5)), 64)
    assert frames.shape == (4, 64, 64, 3)
    assert frames.dtype == np.uint8
    for frame, colour in zip(frames, ("red", "red", "blue", "blue"), strict=True):
        seen = {tuple(int(channel) for channel in pixel) for pixel in frame.reshape(-1, 3)}
        assert seen == {BACKGROUND, COLOURS[colour]}
    assert min(BACKGROUND) > 0


def test_shapes_and_colours_differ_in_many_pixels():
    drawn = [draw_still((Event("white", shape, "up", 2, 2),), 64)[0, ..., 0] > 128 for shape in SHAPES]
    for i, mask in enumerate(drawn):
        assert all((mask != other).sum() > 60 for other in drawn[:i])
    values = [np.array(rgb) for rgb in (*COLOURS.values(), BACKGROUND)]
    for i, value in enumerate(values):
        assert all(abs(value - other).max() > 80 for other in values[:i])


def test_still_shapes_are_whole_and_apart():
    rng = Random(0)
    area = {shape: (draw_still((Event("white", shape, "up", 0, 0),), 64)[0, ..., 0] > 128).sum() for shape in SHAPES}
    for _ in range(200):
        scene = random_still_scene(2, rng)
        ink = (draw_still(scene, 64)[0] != BACKGROUND).any(-1)
        assert ink.sum() == sum(area[event.shape] for event in scene)
        assert len({event.colour for event in scene}) == len({event.shape for event in scene}) == 2
        for event in scene:
            columns = np.nonzero((draw_still((event,), 64)[0] != BACKGROUND).any((0, 2)))[0]
            assert event.horizontal == ("left" if columns.mean() < 31.5 else "right")


def test_scenes_use_every_attribute_and_start_equally():
    events = random_scene(60_000, Random(1))
    for name in Event._fields:
        counts = np.unique([getattr(event, name) for event in events], return_counts=True)[1]
        assert counts.max() / counts.min() < 1.1
