import hashlib
import multiprocessing
from dataclasses import replace
from pathlib import Path

import decord
import numpy as np
import pytest
from PIL import Image

import sparrow.world.write
from sparrow.media import FramePolicy, TextStyle, read_frames, render_text
from sparrow.world import TABLES, WorldSettings, ensure_world
from sparrow.world.scenes import BACKGROUND, COLOURS, FRAMES_PER_EVENT, draw_frames, draw_page, draw_still, tell
from sparrow.world.write import _write_clip

SETTINGS = WorldSettings(
    num_stills=6, num_pages=4, num_clips=6, num_clips_all_kinds=6, num_event_texts=4, num_benchmark_clips=6
)


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def nearest_colour(frames):
    palette = np.array([BACKGROUND, *COLOURS.values()])
    return np.linalg.norm(frames[..., None, :] - palette, axis=-1).argmin(-1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return ensure_world(tmp_path_factory.mktemp("cache"), SETTINGS, 0)


def test_two_writes_give_the_same_bytes(world, tmp_path):
    again = ensure_world(tmp_path, SETTINGS, 0)
    assert again.name == world.name
    assert digests(again) == digests(world)


def test_a_clip_is_encoded_alike_each_time(tmp_path):
    """This one was not, by what the encoder found in memory that it had not written."""
    rows = TABLES["clips"].rows(WorldSettings(num_clips=2789), 0)
    scene = next(scene for record, scene in rows if record["video"] == "002788.mp4")
    written, rng = set(), np.random.default_rng(0)
    for i in range(40):
        _left_in_memory = [rng.bytes(rng.integers(1, 200_000)) for _ in range(3)]
        _write_clip(tmp_path / f"{i}.mp4", TABLES["clips"].draw(scene, 64))
        written.add((tmp_path / f"{i}.mp4").read_bytes())
    assert len(written) == 1


def test_another_seed_or_setting_is_another_folder(world, tmp_path):
    assert ensure_world(tmp_path, SETTINGS, 1).name != world.name
    assert ensure_world(tmp_path, WorldSettings(num_clips=1, num_stills=0, num_benchmark_clips=0), 0).name != world.name


def test_a_world_without_rows_is_written_as_empty_tables(tmp_path):
    empty = WorldSettings(num_stills=0, num_pages=0, num_clips=0, num_event_texts=0, num_benchmark_clips=0)
    folder = ensure_world(tmp_path, empty, 0)
    assert (folder / "clips.json").read_text() == "[]\n"
    assert (folder / "short.jsonl").read_text() == ""


@pytest.mark.parametrize("name", ["clips", "clips_all_kinds", "benchmark_short", "benchmark_long"])
def test_clips_read_back_as_they_were_drawn(world, name):
    for record, scene in TABLES[name].rows(SETTINGS, 0):
        video = decord.VideoReader(str(world / TABLES[name].media_root / record["video"]))
        assert len(video) == FRAMES_PER_EVENT * len(scene)
        assert video.get_avg_fps() == 2
        read = video.get_batch(range(len(video))).asnumpy()
        # H.264's 4:2:0 halves the resolution of colour: the odd pixel at an edge is off, never an area.
        assert (nearest_colour(read) == nearest_colour(draw_frames(scene, 64))).mean() > 0.98


def test_stills_read_back_exactly(world):
    for record, scene in TABLES["stills"].rows(SETTINGS, 0):
        assert np.array_equal(np.asarray(Image.open(world / "stills" / record["image"])), draw_still(scene, 64)[0])


@pytest.mark.parametrize(("name", "draw"), [("benchmark_stills", draw_still), ("benchmark_pages", draw_page)])
def test_what_is_asked_before_clips_are_is_a_folder_of_one_frame(world, name, draw):
    for record, scene in TABLES[name].rows(SETTINGS, 0):
        frames = read_frames(world / TABLES[name].media_root / record["video"], FramePolicy())[0]
        assert np.array_equal(frames, draw(scene, 64))
        assert len(frames) == 1


def test_pages_are_drawn_as_tiny_runs_draw_them(settings):
    """Else the gate of stage 0 would ask for pages of another look than those that were learnt."""
    tiny = settings("experiment=scale_model_stage0", small=False).text_to_image
    [scene] = [scene for _, scene in TABLES["benchmark_pages"].rows(replace(SETTINGS, num_benchmark_clips=1), 0)]
    [page] = render_text(tell(scene), TextStyle(**vars(tiny)))
    assert np.array_equal(draw_page(scene, 64)[0, ..., 1], page)


def test_tables_that_ask_about_the_same_clips_share_them(world):
    short, rephrased = (
        [r["video"] for r, _ in TABLES[f"benchmark_{n}"].rows(SETTINGS, 0)] for n in ("short", "rephrased")
    )
    assert short == rephrased
    assert (world / "rephrased.jsonl").read_text() != (world / "short.jsonl").read_text()


def test_a_second_call_writes_nothing(world, monkeypatch):
    monkeypatch.setattr(sparrow.world.write, "_write_table", None)
    assert ensure_world(world.parent.parent, SETTINGS, 0) == world


def test_an_interrupted_write_is_not_taken_as_a_world(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sparrow.world.write, "_write_clip", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ensure_world(tmp_path, SETTINGS, 0)
    assert [path for path in (tmp_path / "world").iterdir() if path.is_dir()] == []
    assert (ensure_world(tmp_path, SETTINGS, 0) / "long.jsonl").is_file()


def test_what_a_killed_write_left_is_cleared(world, tmp_path):
    leftover = tmp_path / "world" / f".{world.name}.killed"
    leftover.mkdir(parents=True)
    (leftover / "stills.json").write_text("[")
    assert digests(ensure_world(tmp_path, SETTINGS, 0)) == digests(world)
    assert not leftover.exists()


def _ensure(cache_root, start, results):
    start.wait()
    results.put(str(ensure_world(cache_root, SETTINGS, 0)))


def test_callers_at_the_same_time_get_one_whole_world(world, tmp_path):
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(3), context.Queue()
    callers = [context.Process(target=_ensure, args=(tmp_path, start, results)) for _ in range(3)]
    for caller in callers:
        caller.start()
    folders = {results.get(timeout=60) for _ in callers}
    for caller in callers:
        caller.join()
    [folder] = folders
    assert digests(Path(folder)) == digests(world)
    assert [path for path in (tmp_path / "world").iterdir() if path.is_dir()] == [Path(folder)]
