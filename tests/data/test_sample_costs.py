"""What is measured once stays measured: over kills, damage, and other presentations."""

import json
import os
import signal

import pytest

from sparrow.core import segment_store
from sparrow.data import sample_costs, source_media, video_headers
from sparrow.planning.run_inputs import prepare
from tests.conftest import SMALL_RUN
from tests.media.video_clips import write_clip

NUM_VIDEOS, NUM_QUESTIONS = 12, 3


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Overrides for three questions about each of twelve videos, which do not stand together."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "media").mkdir()
    write_clip(folder / "media" / "0.mp4", 4, width=64, height=64)
    for i in range(1, NUM_VIDEOS):
        (folder / "media" / f"{i}.mp4").hardlink_to(folder / "media" / "0.mp4")
    records = [
        {
            "id": f"{question}-{i}",
            "video": f"{i}.mp4",
            "conversations": [{"from": "human", "value": f"<video>What {question}?"}, {"from": "gpt", "value": "red"}],
        }
        for question in range(NUM_QUESTIONS)
        for i in range(NUM_VIDEOS)
    ]
    (folder / "clips.json").write_text(json.dumps(records))
    return (
        "mixture=world_video",
        f"mixture.num_samples={len(records)}",
        "source.world_clips.use_world=false",
        "source.world_clips.files=[clips.json]",
        f"source.world_clips.root={folder}",
        "source.world_clips.media_root=media",
    )


@pytest.fixture
def calls(monkeypatch):
    """What is called from now on: looks at a file, probes of a video, and samples measured."""
    counted = {"look": 0, "probe": 0, "measure": 0}

    def count(name, module, function):
        original = getattr(module, function)

        def counting(*arguments, **options):
            counted[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(module, function, counting)

    count("look", source_media, "_file_state")
    count("probe", video_headers, "look_at_header")
    count("measure", sample_costs, "measure")
    return counted


def test_each_file_is_looked_at_once_a_start_and_probed_once(settings, clips, calls, tmp_path):
    cached = (*clips, f"paths.cache_root={tmp_path}")
    first = prepare(settings(*cached)).plan
    assert calls == {"look": NUM_VIDEOS, "probe": NUM_VIDEOS, "measure": NUM_VIDEOS * NUM_QUESTIONS}
    calls.update(look=0, probe=0, measure=0)
    assert prepare(settings(*cached)).plan.content_hash == first.content_hash
    assert calls == {"look": NUM_VIDEOS, "probe": 0, "measure": 0}
    shown_otherwise = (*cached, "frames.max_frames=3", "mixture.num_samples=null", "mixture.num_tokens=1000")
    prepare(settings(*shown_otherwise))
    assert calls == {"look": 2 * NUM_VIDEOS, "probe": 0, "measure": NUM_VIDEOS * NUM_QUESTIONS}


def kill_after(num_samples):
    """Let the process kill itself while it measures; what was measured is written after every second file."""

    def prepare_kill():
        segment_store.WRITE_EVERY_S, sample_costs.CHUNK = 0, 2
        original, done = sample_costs.measure, []

        def measure(*arguments):
            if len(done) == num_samples:
                os.kill(os.getpid(), signal.SIGKILL)
            done.append(1)
            return original(*arguments)

        sample_costs.measure = measure

    return prepare_kill


def test_a_kill_loses_only_what_was_not_written_yet(sparrow, settings, clips, calls, tmp_path):
    cached = (*clips, f"paths.cache_root={tmp_path / 'cache'}")
    done = sparrow("prepare", *SMALL_RUN, *cached, prepare=kill_after(29))
    assert done.returncode == -signal.SIGKILL
    resumed = prepare(settings(*cached)).plan
    assert calls["measure"] == NUM_VIDEOS * NUM_QUESTIONS - 24, "of 29, those of the last files were not written"
    assert calls["probe"] == 0, "all headers were looked at before the first sample was measured"
    assert resumed.content_hash == prepare(settings(*clips)).plan.content_hash


def test_damaged_measurements_are_taken_anew(settings, clips, calls, tmp_path, caplog):
    cached = (*clips, f"paths.cache_root={tmp_path}")
    first = prepare(settings(*cached)).plan
    for file in (tmp_path / "measurements").rglob("*.arrow"):
        file.write_bytes(file.read_bytes()[:-20])
    calls.update(measure=0, probe=0)
    assert prepare(settings(*cached)).plan.content_hash == first.content_hash
    assert (calls["measure"], calls["probe"]) == (NUM_VIDEOS * NUM_QUESTIONS, NUM_VIDEOS)
    assert caplog.text.count("is damaged and was removed") == 2
