"""Answers that runs share are of the videos as they were: a video that is put there or drawn anew is asked about anew."""

import json
from dataclasses import replace

import pytest

from sparrow.core.errors import DataError
from sparrow.evaluation.run_benchmarks import Evaluator
from sparrow.evaluation.settings import Benchmark
from sparrow.media.settings import FramePolicy
from sparrow.models.loading import load_backbone


@pytest.fixture(scope="module")
def backbone(tiny_checkpoint):
    return load_backbone(str(tiny_checkpoint("idefics3")), frame_size_px=64)


def an_evaluator(benchmark, config, **changes):
    frames = FramePolicy(policy="uniform", max_frames=4)
    return Evaluator(replace(config, benchmark={"b": benchmark}, frames=frames, world=replace(config.world, **changes)))


def test_a_video_that_was_missing_is_asked_about_once_it_is_there(settings, backbone, tmp_path):
    config = settings("benchmark=[world/short]", f"paths.cache_root={tmp_path / 'cache'}")
    asked, media = an_evaluator(config.benchmark["world_short"], config).questions("b")
    one, other = (media / question.video for question in asked[:2])
    (tmp_path / "one.mp4").write_bytes(one.read_bytes())
    records = [
        {"question_id": f"q{i}", "video": video, "prompt": "What is it?\nA. a\nB. b", "GT": "A", "category": "c"}
        for i, video in enumerate(("one.mp4", "other.mp4"))
    ]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, records)))
    benchmark = Benchmark(format="multiple_choice", root=str(tmp_path), file="questions.jsonl")

    def answers():
        """The rules of the shared answers, and which questions were asked for them."""
        evaluator = an_evaluator(benchmark, config)
        with evaluator.shared("model", "before") as folders:
            evaluator.answer("b", backbone, "model", folders["b"], "before")
            evaluator.take_over(folders, "model", tmp_path / "run", "before")
        lines = (tmp_path / "run" / "predictions" / "before" / "b.jsonl").read_text().splitlines()
        return [json.loads(line)["rule"] for line in lines]

    missing = answers()
    assert "not asked" not in missing[0]
    assert "not asked" in missing[1]
    assert "other.mp4" in missing[1]
    (tmp_path / "other.mp4").write_bytes(other.read_bytes())
    assert all("not asked" not in rule for rule in answers())


def test_a_world_without_benchmark_clips_says_what_to_set(settings, tmp_path):
    config = settings("benchmark=[world/short]", f"paths.cache_root={tmp_path}")
    with pytest.raises(
        DataError, match=r"benchmark 'b': the generated world holds nothing.*world\.num_benchmark_clips="
    ):
        an_evaluator(config.benchmark["world_short"], config, num_benchmark_clips=0).questions("b")


def test_worlds_whose_pictures_differ_do_not_share_answers(settings, backbone, tmp_path):
    config = settings("benchmark=[world/short]", f"paths.cache_root={tmp_path}")
    folders, questions = [], []
    for size in (64, 64, 96):
        evaluator = an_evaluator(config.benchmark["world_short"], config, frame_size_px=size)
        with evaluator.shared("model", "before") as shared:
            folders.append(shared["b"])
        questions.append(evaluator.questions("b")[0])
    assert questions[0] == questions[2]
    assert folders[0] == folders[1] != folders[2]
