"""The five benchmarks end to end with a tiny model: nothing dropped, everything told, the same on any number of ranks."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from sparrow.commands.checkpoint_settings import as_trained, unlike_training
from sparrow.commands.evaluate import evaluate
from sparrow.commands.train import MODEL_FOLDER
from sparrow.core.errors import BackboneError, ConfigError, DataError, RunError
from sparrow.core.settings import validated
from sparrow.evaluation.predictions import read_predictions
from sparrow.evaluation.rehearsal import REHEARSED
from sparrow.evaluation.run_benchmarks import Evaluator
from sparrow.evaluation.settings import FORMATS, Benchmark
from sparrow.media.settings import FramePolicy
from sparrow.models.settings import CheckpointOptions
from sparrow.runs.record import RunRecord
from sparrow.settings import EvaluateConfig
from tests.evaluation.benchmark_folders import FPS, MISSING, OFFICIAL, questions_of, write_video

QUICK = {
    name: [f"benchmark.{name}.max_new_tokens_open_ended=6", f"benchmark.{name}.unscored_tasks=generate"]
    for name in ("mlvu", "tempcompass")
}


def quick(name: str) -> list[str]:
    return [f"benchmark=[{name}]", f"benchmark.{name}.max_new_tokens=4", *QUICK.get(name, [])]


def run(evaluate_settings, folder: Path, *overrides: str) -> RunRecord:
    return evaluate(evaluate_settings(*overrides), folder)


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_question_is_answered_and_every_score_is_told(evaluate_settings, tmp_path, name, capsys):
    record = run(evaluate_settings, tmp_path, *quick(name))
    questions = {question.id: question for question in questions_of(name)}
    score = record.scores[name]["after"]
    predictions = read_predictions(tmp_path / score.predictions)
    assert [p.question_id for p in predictions] == sorted(questions)

    missing = [p for p in predictions if questions[p.question_id].video == MISSING[name]]
    assert score.missing_videos == [MISSING[name]]
    assert missing
    for prediction in predictions:
        question = questions[prediction.question_id]
        if prediction in missing:
            assert (prediction.correct, prediction.choice, prediction.reply) == (False, None, None)
            assert MISSING[name] in prediction.rule
        else:
            assert prediction.reply is not None
            assert len(prediction.frame_indices) == (16 if name == "mvbench" else 4)
        if not question.options and prediction not in missing:
            assert prediction.rule == "unscored: needs a judge"
    num_open = sum(not question.options for question in questions.values())
    assert (score.num_questions, score.num_unscored) == (len(questions) - num_open, num_open)
    assert score.num_questions == sum(part.num_questions for part in score.by_category.values())
    assert score.official is not None

    assert score.protocol["protocol"] == "official"
    assert score.protocol["subtitles"] == ("interleaved" if name == "longvideobench" else "off")
    assert "about 1 missing videos count as wrong" in score.protocol["note"]
    assert record.config["benchmark"][name]["max_frames"] == (16 if name == "mvbench" else 4)
    printed = " ".join(capsys.readouterr().out.split())
    assert "Benchmarks and protocols" in printed
    assert "prompts official," in printed


def test_bounds_choose_the_frames(evaluate_settings, tmp_path):
    run(evaluate_settings, tmp_path, *quick("mvbench"), "benchmark.mvbench.max_frames=8")
    found = {p.question_id: p for p in read_predictions(tmp_path / "predictions/after/mvbench.jsonl")}
    for question_id, fps, start_s, end_s in (
        ("action_sequence/0", FPS, 11.1, 21.0),
        ("action_sequence/1", FPS, 2.5, 7.1),
        ("episodic_reasoning/0", 3, 10.2, 25.6),
    ):
        indices = found[question_id].frame_indices
        assert len(indices) == 8
        assert start_s < (indices[0] + 1) / fps, "the first frame is still on screen when the part begins"
        assert indices[-1] / fps < end_s


def test_questions_about_missing_videos_are_left_out_where_that_is_said(evaluate_settings, tmp_path):
    record = run(evaluate_settings, tmp_path, *quick("video_mme"), "benchmark.video_mme.missing_videos=exclude")
    score = record.scores["video_mme"]["after"]
    assert score.num_questions == 12 - sum(q.video == MISSING["video_mme"] for q in questions_of("video_mme"))
    assert score.missing_videos == [MISSING["video_mme"]]
    assert score.protocol["note"].endswith("3 questions about 1 missing videos are not asked")


def test_a_protocol_sets_what_is_not_given(evaluate_settings):
    def of(name, *more):
        return evaluate_settings(f"benchmark=[{name}]", *more).benchmark[name]

    official, released = of("mvbench"), of("mvbench", "benchmark.mvbench.protocol=released")
    assert (official.max_frames, official.metric) == (16, "macro_accuracy")
    assert (released.max_frames, released.metric) == (4, "accuracy")
    assert of("mlvu", "benchmark.mlvu.protocol=released").tasks[0] == "plotQA"
    assert of("tempcompass", "benchmark.tempcompass.protocol=released").tasks == ["multi-choice"]
    assert of("longvideobench", "benchmark.longvideobench.subtitles=off").subtitles == "off"
    assert of("mlvu", "benchmark.mlvu.max_frames=64").max_frames == 64
    assert of("mlvu", "benchmark.mlvu.metric=accuracy").metric == "accuracy"
    earlier = asdict(official) | {"presets": {"official": {"max_frames": 8}}}
    assert validated(Benchmark, earlier) == official, "as records of earlier versions have it"


def test_contradictions_in_a_benchmark_are_said_at_once(evaluate_settings):
    with pytest.raises(ConfigError) as caught:
        evaluate_settings(
            "benchmark=[mvbench]",
            "benchmark.mvbench.subtitles=on",
            "benchmark.mvbench.scoring=judge",
            "benchmark.mvbench.missing_videos=drop",
            "benchmark.mvbench.num_questions=0",
            "benchmark.mvbench.metric=acuracy",
            "+benchmark.world_short={format: multiple_choice, root: x, protocol: released, file: mine.jsonl}",
        )
    assert "benchmark.mvbench.metric: 'acuracy' is not one of accuracy, macro_accuracy, " in str(caught.value)
    assert "benchmark.world_short.protocol: the prompts stand in its file; leave it out" in str(caught.value)
    for part in ("mvbench has no subtitles", "'judge' is not one of", "'drop' is not one of", "num_questions: must be"):
        assert part in str(caught.value)


def test_a_benchmark_without_any_of_its_videos_is_refused_before_anything_is_written(
    evaluate_settings, benchmarks, tmp_path
):
    shutil.copytree(benchmarks / "longvideobench", tmp_path / "lvb", ignore=shutil.ignore_patterns("*.mp4"))
    where = [f"benchmark.longvideobench.root={tmp_path}/lvb"]
    with pytest.raises(DataError, match=r"none of its 4 videos is there; looked for 86CxyhFV9MI\.mp4, hourLong\.mp4"):
        run(evaluate_settings, tmp_path / "run", *quick("longvideobench"), *where)
    assert not (tmp_path / "run").exists()


def test_own_questions_with_a_gif_and_a_folder_of_frames(evaluate_settings, tmp_path):
    prompt = "What moves?\nA. a square\nB. a circle\nAnswer with the letter."
    videos = ["a.gif", "frames", "b.mp4"]
    for video in videos:
        write_video(tmp_path / "media" / video, seconds=6)
    lines = [
        {"question_id": i, "video": video, "prompt": prompt, "GT": "A", "category": "motion"}
        for i, video in enumerate(videos)
    ]
    (tmp_path / "mine.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = run(
        evaluate_settings,
        tmp_path / "run",
        "benchmark=[multiple_choice]",
        f"benchmark.multiple_choice.root={tmp_path}",
        "benchmark.multiple_choice.file=mine.json",
        "benchmark.multiple_choice.media_root=media",
        "benchmark.multiple_choice.scoring=letter_likelihood",
    )
    score = record.scores["multiple_choice"]["after"]
    assert (score.num_unanswered, score.protocol["protocol"]) == (0, "as in the file")
    found = read_predictions(tmp_path / "run/predictions/after/multiple_choice.jsonl")
    assert {len(p.frame_indices) for p in found} == {4}


def own_questions(root: Path, rows: list[dict]) -> list[str]:
    """A benchmark of one's own with these rows, as overrides."""
    common = {"prompt": "What moves?\nA. a square\nB. a circle\nGo.", "GT": "A", "category": "motion"}
    lines = [{"question_id": i, **common, **row} for i, row in enumerate(rows)]
    (root / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [
        "benchmark=[multiple_choice]",
        f"benchmark.multiple_choice.root={root}",
        "benchmark.multiple_choice.file=mine.jsonl",
        "benchmark.multiple_choice.media_root=media",
        "benchmark.multiple_choice.scoring=letter_likelihood",
    ]


def test_files_that_cannot_be_read_are_counted_by_reason_and_fail_the_run_above_a_share(evaluate_settings, tmp_path):
    write_video(tmp_path / "media/good.mp4", seconds=6)
    damaged = (tmp_path / "media/good.mp4").read_bytes()[:900]
    for name, content in {"one.mp4": damaged, "two.mp4": damaged, "text.mp4": b"no video"}.items():
        (tmp_path / "media" / name).write_bytes(content)
    rows = [{"video": video} for video in ("good.mp4", "one.mp4", "two.mp4", "text.mp4")]
    rows += [{"video": "good.mp4", "start": 4, "end": 2}, {"video": "gone.mp4"}]
    mine = own_questions(tmp_path, rows)
    with pytest.raises(
        DataError, match=r"more than max_bad_fraction=0\.01 of multiple_choice \(after\): 66\.7% not asked"
    ):
        run(evaluate_settings, tmp_path / "run", *mine)
    assert RunRecord.load(tmp_path / "run").status == "failed"
    record = run(evaluate_settings, tmp_path / "run", *mine, "max_bad_fraction=0.7")
    score = record.scores["multiple_choice"]["after"]
    assert (score.num_questions, score.num_not_asked, score.num_unanswered) == (6, 5, 0)
    assert sum(score.not_asked.values()) == 5
    assert any(reason.startswith("the clip from N s to N s holds no frame") for reason in score.not_asked)
    assert any("3 questions not asked, the video cannot be decoded" in n and "one.mp4]" in n for n in record.notes)
    assert len(record.notes) == len(score.not_asked)


def test_links_inside_an_allowed_folder_are_read(evaluate_settings, tmp_path):
    write_video(tmp_path / "store/inside.mp4", seconds=6)
    write_video(tmp_path.parent / f"{tmp_path.name}-disk/outside.mp4", seconds=6)
    (tmp_path / "media").mkdir()
    (tmp_path / "media/a.mp4").symlink_to("../store/inside.mp4")
    (tmp_path / "media/b.mp4").symlink_to(tmp_path.parent / f"{tmp_path.name}-disk/outside.mp4")
    mine = own_questions(tmp_path, [{"video": "a.mp4"}, {"video": "b.mp4"}])
    with pytest.raises(DataError, match="media_roots"):
        run(evaluate_settings, tmp_path / "run", *mine)
    disk = f"benchmark.multiple_choice.media_roots=[{tmp_path.parent}/{tmp_path.name}-disk]"
    record = run(evaluate_settings, tmp_path / "run", *mine, disk)
    assert record.scores["multiple_choice"]["after"].num_not_asked == 0


def test_replies_that_name_no_option_hint_at_likelihoods(evaluate_settings, tmp_path):
    write_video(tmp_path / "media/a.mp4", seconds=6)
    prompt = "What moves?\nA. the first of all squares\nB. the second of all circles\nGo."
    mine = own_questions(tmp_path, [{"video": "a.mp4", "prompt": prompt}])
    mine += ["benchmark.multiple_choice.scoring=generate", "benchmark.multiple_choice.max_new_tokens=1"]
    record = run(evaluate_settings, tmp_path / "run", *mine)
    assert record.notes == [
        "multiple_choice (after): none of 1 replies names an option; "
        "benchmark.multiple_choice.scoring=letter_likelihood needs none"
    ]


def test_questions_that_need_a_judge_are_not_generated_unless_asked_for(evaluate_settings, tmp_path):
    settings = evaluate_settings("benchmark=[mlvu]", "benchmark.mlvu.max_new_tokens=2")
    record = evaluate(settings, tmp_path)
    score = record.scores["mlvu"]["after"]
    num_open = sum(not question.options for question in questions_of("mlvu"))
    assert (score.num_unscored, num_open > 0) == (0, True)
    assert f"; {num_open} that need a judge are not asked" in score.protocol["note"]
    with pytest.raises(DataError, match=r"all .* questions need a judge"):
        run(evaluate_settings, tmp_path / "other", "benchmark=[mlvu]", "benchmark.mlvu.tasks=[summary]")


def test_frames_are_swept_with_one_checkpoint(evaluate_settings, tmp_path):
    hashes = set()
    for frames in (2, 4):
        name = f"benchmark.tempcompass.max_frames={frames}"
        run(evaluate_settings, tmp_path / str(frames), *quick("tempcompass"), name)
        predictions = read_predictions(tmp_path / f"{frames}/predictions/after/tempcompass.jsonl")
        assert {len(p.frame_indices) for p in predictions if p.reply is not None} == {frames}
        hashes.add(RunRecord.load(tmp_path / str(frames)).run_id)
    assert len(hashes) == 2


def answers(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((folder / "predictions").rglob("*.jsonl")))


@pytest.mark.slow
def test_several_ranks_write_the_files_of_one(evaluate_settings, tmp_path):
    benchmarks = ["benchmark=[video_mme,mvbench]", "benchmark.video_mme.subtitles=on", "blind=true"]
    benchmarks += ["benchmark.video_mme.max_new_tokens=16", "benchmark.mvbench.max_new_tokens=16"]
    for devices in (1, 2, 3):
        run(evaluate_settings, tmp_path / str(devices), *benchmarks, f"trainer.devices={devices}")
    one, *others = (RunRecord.load(tmp_path / devices) for devices in "123")
    assert {one.run_id} == {other.run_id for other in others}
    assert all(one.scores == other.scores for other in others)
    assert answers(tmp_path / "1") == answers(tmp_path / "2") == answers(tmp_path / "3")
    assert len(list((tmp_path / "3").rglob("*.jsonl"))) == 4, "the ranks' own files are gone"


@pytest.mark.slow
def test_a_rank_that_fails_fails_the_run(evaluate_settings, tmp_path):
    config = evaluate_settings("benchmark=[video_mme]", "trainer.devices=2")
    broken = Path(shutil.copytree(config.checkpoint, tmp_path / "broken"))
    tensors = load_file(broken / "model.safetensors")
    name = max(tensors)
    save_file(tensors | {name: tensors[name][:1].clone()}, broken / "model.safetensors", metadata={"format": "pt"})
    config.checkpoint = str(broken)
    with pytest.raises(RunError, match=r"process \d of 2 failed \(.+\); the answers so far are kept"):
        evaluate(config, tmp_path / "run")
    assert RunRecord.load(tmp_path / "run").status == "failed"


def test_more_frames_than_fit_are_refused_before_weights_are_read(evaluate_settings, tmp_path):
    for overrides, key in (
        (["benchmark.video_mme.max_frames=9000", "frames.max_frames=9000"], "benchmark.video_mme.max_frames"),
        (["benchmark.video_mme.max_frames=null", "frames.max_frames=9000"], "frames.max_frames"),
    ):
        config = evaluate_settings(*quick("video_mme"), *overrides)
        weightless = tmp_path / key
        shutil.copytree(config.checkpoint, weightless, ignore=shutil.ignore_patterns("*.safetensors"))
        config.checkpoint = str(weightless)
        with pytest.raises(BackboneError, match=rf"^{key}=9000 at .* made for 16384"):
            evaluate(config, tmp_path / "run")
        assert not (tmp_path / "run" / "run.json").exists()


def test_a_launcher_is_refused(evaluate_settings, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"run it once, with trainer\.devices"):
        run(evaluate_settings, tmp_path, *quick("video_mme"))


@pytest.mark.slow
def test_killed_and_resumed_with_another_number_of_ranks_it_writes_the_same_files(
    evaluate_overrides, cache_root, tmp_path
):
    def command(name: str, devices: int) -> list[str]:
        where = [f"hydra.run.dir={tmp_path / name}", f"paths.cache_root={cache_root}", "benchmark=[mlvu,video_mme]"]
        options = ["benchmark.mlvu.unscored_tasks=generate", f"trainer.devices={devices}"]
        options += ["benchmark.mlvu.max_new_tokens_open_ended=300"]
        options += [f"benchmark.{name}.max_new_tokens=16" for name in ("mlvu", "video_mme")]
        return [sys.executable, "-m", "sparrow", "evaluate", *evaluate_overrides, *where, *options]

    subprocess.run(command("whole", 1), check=True, capture_output=True)
    killed = subprocess.Popen(command("killed", 2), start_new_session=True, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size for path in (tmp_path / "killed").rglob("*.partial-*.jsonl")):
        assert time.monotonic() < deadline and killed.poll() is None
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    partial = {path: path.read_bytes() for path in (tmp_path / "killed").rglob("*.partial-*.jsonl")}
    before = sum(content.count(b"\n") for content in partial.values())
    assert 0 < before < 25
    done = subprocess.run(command("killed", 1), check=True, capture_output=True, text=True)
    assert "already answered" in done.stdout + done.stderr
    assert answers(tmp_path / "killed") == answers(tmp_path / "whole")
    assert RunRecord.load(tmp_path / "killed").status == "finished"


def test_an_evaluation_finds_the_model_of_a_run_and_is_called_as_the_run(evaluate_settings, tmp_path):
    config = evaluate_settings(*quick("video_mme"), "benchmark.video_mme.num_questions=2", "study.name=mine")
    shutil.copytree(config.checkpoint, tmp_path / "trained" / MODEL_FOLDER)
    assert evaluate(config, tmp_path / "of folder").name == "mine"
    RunRecord(run_id="r", name="mixture=M,seed=1", command="train").save(tmp_path / "trained")
    config.checkpoint = str(tmp_path / "trained")
    record = evaluate(config, tmp_path / "of run")
    assert record.name == "mixture=M,seed=1"
    assert record.scores["video_mme"]["after"].num_questions == 2


def trained_run(folder: Path, **settings) -> list[str]:
    """The folder of a run with these settings, as an override."""
    RunRecord(run_id="a", name="trained", command="train", config=settings).save(folder)
    return [f"checkpoint={folder}"]


def test_a_run_is_asked_as_it_was_trained_unless_told_otherwise(settings, tmp_path):
    def of(*overrides):
        return settings(*overrides, config_name="evaluate", schema=EvaluateConfig, small=False)

    run = trained_run(
        tmp_path,
        study={"name": "of the run"},
        data_seed=3,
        world={"num_clips": 7, "long_events": [2, 3]},
        frames={"policy": "fps", "max_frames": 8, "fps": 2.0, "timestamps": True},
        trainer={"precision": "32-true", "devices": 4},
        backbone={"native_video": False, "frame_size_px": 64},
        benchmark={"mlvu": {"protocol": "released", "scoring": "letter_likelihood"}},
    )
    alike = of(*run, "benchmark=[mlvu,mvbench]")
    assert alike.study.name == "of the run"
    assert (alike.data_seed, alike.world.num_clips, alike.world.long_events) == (3, 7, [2, 3])
    assert alike.frames == FramePolicy(policy="fps", max_frames=8, fps=2.0, timestamps=True)
    assert (alike.trainer.precision, alike.trainer.devices) == ("32-true", 1)
    assert (alike.backbone.native_video, alike.backbone.frame_size_px) == (False, 64)
    mlvu, mvbench = alike.benchmark["mlvu"], alike.benchmark["mvbench"]
    assert (mlvu.protocol, mlvu.scoring, mlvu.metric, mlvu.max_frames) == (
        "released",
        "letter_likelihood",
        "accuracy",
        8,
    )
    assert (mvbench.protocol, mvbench.scoring) == ("official", "generate")
    assert unlike_training(alike) is None

    told = of(*run, "data_seed=0", "frames=uniform", "trainer.precision=bf16-mixed", "world.long_events=[8]")
    assert (told.data_seed, told.frames.policy, told.world.long_events) == (0, "uniform", [8])
    assert unlike_training(told) == (
        f"not as in {tmp_path}: data_seed=0 (there 3), world.long_events=[8] (there [2, 3]), "
        "frames.policy=uniform (there fps), frames.max_frames=24 (there 8), frames.fps=None (there 2.0), frames.timestamps=False (there True), "
        "trainer.precision=bf16-mixed (there 32-true)"
    )
    other = of("checkpoint=org/model")
    assert (other.data_seed, other.frames.max_frames, other.trainer.precision) == (0, 24, "bf16-mixed")
    assert unlike_training(other) is None


def test_native_video_is_asked_as_it_was_trained(evaluate_settings, tmp_path):
    run = trained_run(tmp_path, backbone={"native_video": True})
    assert evaluate_settings(*run).backbone.native_video is True
    options = CheckpointOptions()
    assert as_trained(str(tmp_path), options).native_video is True
    assert as_trained("org/model", options).native_video is False
    told = evaluate_settings(*run, "backbone.native_video=false")
    assert as_trained(str(tmp_path), told.backbone).native_video is False
    assert "backbone.native_video=False (there True)" in unlike_training(told)


@pytest.mark.parametrize("name", REHEARSED)
@pytest.mark.parametrize("protocol", ["official", "released"])
def test_a_rehearsal_reads_and_asks_generated_items_as_the_benchmark_itself(
    evaluate_settings, cache_root, name, protocol
):
    few = ("world.num_clips=0", "world.num_event_texts=0", "world.num_stills=0", "world.num_pages=0")
    given = (*few, f"paths.cache_root={cache_root}", "use_world=true", f"benchmark.{name}.protocol={protocol}")
    config = evaluate_settings(f"benchmark=[{name}]", *given, f"benchmark.{name}.unscored_tasks=generate")
    evaluator = Evaluator(config)
    assert evaluator.benchmarks[name] == config.benchmark[name], "its own protocol, tasks, metric and scoring"
    questions, media_root = evaluator.questions(name)
    asked = config.benchmark[name].tasks or FORMATS[name].num_questions
    assert len({question.category for question in questions}) >= (1 if "all" in asked else len(asked))
    assert all((media_root / question.video).exists() for question in questions)
    assert any(question.options and question.gold is not None for question in questions)
    assert bool(questions[0].subtitles) == (name == "longvideobench")
    own = [question for question in questions_of(name) if question.options]
    assert {q.system for q in questions if q.options} == {q.system for q in own} or protocol == "released"


@pytest.mark.slow
def test_a_rehearsal_ends_with_the_benchmarks_own_score(evaluate_settings, tmp_path):
    few = ("world.num_clips=0", "world.num_event_texts=0", "world.num_stills=0", "world.num_pages=0")
    record = run(evaluate_settings, tmp_path, *quick("tempcompass"), *few, "use_world=true")
    score = record.scores["tempcompass"]["after"]
    assert (score.num_questions, score.num_unscored) == (15, 5)
    assert "of the generated world, not of tempcompass" in score.protocol["note"]
    assert score.official is not None
