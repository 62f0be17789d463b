"""Runs as a user meets them: losses, checkpoints, resuming, the record and the model folder."""

import gc
import json
import signal
from dataclasses import replace

import pandas as pd
import pytest
import torch
from filelock import FileLock, Timeout
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForImageTextToText, AutoProcessor

from sparrow.commands import train as training
from sparrow.commands.train import latest_checkpoint, train
from sparrow.core.errors import BackboneError, ConfigError, DataError, MediaError, RunError
from sparrow.data import batching
from sparrow.evaluation.predictions import Prediction, PredictionWriter, read_predictions
from sparrow.planning import run_inputs as preparation
from sparrow.runs.folder import locked, open_run, training_record
from sparrow.runs.record import RunRecord
from sparrow.runs.status import Interrupted
from sparrow.training import module as training_module
from sparrow.training.checkpoints import checkpoints_in
from sparrow.training.module import FineTuning
from tests.conftest import losses_of


@pytest.fixture(scope="module")
def undisturbed(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = settings(
        "mixture.num_samples=48",
        "benchmark=[world/short]",
        "evaluation=before_and_after",
        "benchmark.world_short.num_questions=6",
    )
    return folder, train(config, folder, name="undisturbed"), config


def test_record_reconciles_and_tells_what_the_run_was(undisturbed):
    folder, _, config = undisturbed
    record = RunRecord.load(folder)
    assert record.status == "finished"
    assert all(counts.reconciles for counts in record.data.values())
    assert sum(counts.used for counts in record.data.values()) == record.num_samples == 48
    assert record.num_steps == record.num_steps_done == 6
    manifest = json.loads((folder / "manifest.json").read_text())
    assert record.manifest_hash == manifest["content_hash"]
    assert record.tokens.visual == sum(c["visual_tokens"] for c in manifest["components"].values())
    assert record.config["optimizer"]["learning_rate"] == config.optimizer.learning_rate
    assert record.versions["torch"].startswith("2.")
    assert record.peak_memory_bytes["host"] > 1e8
    assert record.throughput["samples_per_s"] > 0
    assert set(record.diversity.components) == {"video", "text"}
    assert set(record.time_s) >= {"prepare", "train", "evaluate"}


def test_nothing_of_the_optimizer_is_left_while_benchmarks_are_asked(settings, tmp_path, monkeypatch):
    def optimizers():
        return {id(found) for found in gc.get_objects() if issubclass(type(found), torch.optim.Optimizer)}

    left = []
    monkeypatch.setattr(training, "_evaluate_after", lambda *_: left.extend(optimizers() - before))
    gc.collect()
    before = optimizers()
    gc.disable()  # when it would run by itself depends on all else
    try:
        train(settings("mixture.num_samples=8"), tmp_path, name="freed")
    finally:
        gc.enable()
    assert not left


def test_scores_come_from_predictions_on_disk(undisturbed):
    folder, record, _ = undisturbed
    scores = record.scores["world_short"]
    assert set(scores) == {"before", "after", "blind"}
    for score in scores.values():
        lines = [json.loads(line) for line in (folder / score.predictions).read_text().splitlines()]
        assert len(lines) == score.num_questions == 6
        assert sum(line["correct"] for line in lines) == score.num_correct


def test_a_run_does_not_start_from_a_model_below_a_gate(undisturbed, settings, tmp_path):
    parent, finished, _ = undisturbed
    reached = finished.scores["world_short"]["after"].accuracy
    config = settings("mixture.num_samples=16")
    config.start_from.gates = {"world_short": reached + 0.01}
    with pytest.raises(RunError, match=r"excluded.*world_short 0\.\d+ is below"):
        train(config, tmp_path / "low", name="low", parent=parent)
    record = RunRecord.load(tmp_path / "low")
    assert record.status == "failed"
    assert "excluded" in record.error.message
    config.start_from.gates = {"world_short": reached, "world_long": 0.5}
    with pytest.raises(RunError, match="world_long was not evaluated"):
        train(config, tmp_path / "absent", name="absent", parent=parent)
    config.start_from.gates = {"world_short": reached}
    assert train(config, tmp_path / "reached", name="reached", parent=parent).status == "finished"


@pytest.mark.parametrize(
    ("overrides", "error", "said"),
    [
        (["benchmark.world_short.max_frames=9000"], BackboneError, r"^benchmark\.world_short\.max_frames=9000 at .*"),
        (["frames.max_frames=9000"], BackboneError, r"^frames\.max_frames=9000 at .*"),
        (["tuning=lora", "tuning.lora.targets=[w_query]"], ConfigError, "'w_query' is no linear layer"),
    ],
)
def test_what_the_model_does_not_allow_is_refused_before_data_is_measured(
    settings, tmp_path, monkeypatch, overrides, error, said
):
    monkeypatch.setattr(preparation, "measure_component", None)
    monkeypatch.setattr(preparation, "build_plan", None)
    with pytest.raises(error, match=said):
        train(settings("benchmark=[world/short]", *overrides), tmp_path, name="refused")
    assert RunRecord.load(tmp_path).status == "failed"
    assert not (tmp_path / "manifest.json").exists()


def test_ledger_names_every_planned_sample(undisturbed):
    ledger = pd.read_parquet(undisturbed[0] / "ledger.parquet")
    assert len(ledger) == 48
    assert ledger["sample_id"].is_unique
    assert set(ledger["component"]) == {"video", "text"}


def test_model_folder_opens_with_transformers(undisturbed):
    folder = undisturbed[0] / "model"
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    assert "generation" in processor.chat_template
    assert sum(p.numel() for p in model.parameters()) > 300_000


def test_tensorboard_shows_losses_rates_and_frames(undisturbed):
    events = [EventAccumulator(str(file)).Reload().Tags() for file in undisturbed[0].glob("events*")]
    tags = {kind: [tag for tags in events for tag in tags[kind]] for kind in ("scalars", "images")}
    assert {
        "train/loss",
        "train/loss_video",
        "train/loss_text",
        "train/learning_rate_vision",
        "throughput/samples_per_s",
        "throughput/tokens_per_s",
    } <= set(tags["scalars"])
    assert tags["images"]


def test_the_same_seeds_give_the_same_losses(undisturbed, settings, tmp_path):
    train(settings("mixture.num_samples=48"), tmp_path, name="again")
    assert losses_of(tmp_path) == losses_of(undisturbed[0])
    train(settings("mixture.num_samples=48", "seed=1"), tmp_path / "other", name="other")
    assert losses_of(tmp_path / "other") != losses_of(undisturbed[0])


@pytest.mark.parametrize(
    "overrides",
    [
        ["batching.max_seq_len_tokens=220"],
        ["batching=padded"],
        ["batching=padded", "batching.micro_batch_size_samples=1"],
        ["batching.num_workers=2"],
    ],
)
def test_micro_batches_and_workers_change_nothing(undisturbed, settings, tmp_path, overrides):
    train(settings("mixture.num_samples=48", *overrides), tmp_path, name="other")
    assert list(losses_of(tmp_path).values()) == pytest.approx(list(losses_of(undisturbed[0]).values()), rel=1e-5)


def test_activation_checkpointing_changes_nothing(undisturbed, settings, tmp_path):
    train(settings("mixture.num_samples=48", "tuning.activation_checkpointing=true"), tmp_path, name="other")
    assert list(losses_of(tmp_path).values()) == pytest.approx(list(losses_of(undisturbed[0]).values()), rel=1e-5)


def test_bf16_stays_close(undisturbed, settings, tmp_path):
    train(settings("mixture.num_samples=48", "trainer.precision=bf16-mixed"), tmp_path, name="bf16")
    losses = list(losses_of(tmp_path).values())
    assert losses == pytest.approx(list(losses_of(undisturbed[0]).values()), rel=0.02)
    assert losses != list(losses_of(undisturbed[0]).values())


def test_a_stopped_run_goes_on_to_the_same_losses(undisturbed, settings, tmp_path, monkeypatch):
    config = settings("mixture.num_samples=48")
    stop_after(monkeypatch, steps=3)
    with pytest.raises(Interrupted, match="after step 3 of 6"):
        train(config, tmp_path, name="stopped")
    assert RunRecord.load(tmp_path).status == "interrupted"
    assert latest_checkpoint(tmp_path).name == "step=0000003.ckpt"
    monkeypatch.undo()
    train(config, tmp_path, name="stopped")
    assert RunRecord.load(tmp_path).status == "finished"
    assert losses_of(tmp_path) == losses_of(undisturbed[0])
    finished = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert finished == (undisturbed[0] / "model" / "model.safetensors").read_bytes()


def test_only_data_that_the_run_would_see_keeps_it_from_going_on(settings, tmp_path, monkeypatch):
    config = settings()
    stop_after(monkeypatch, steps=1)
    with pytest.raises(Interrupted):
        train(config, tmp_path, name="stopped")
    monkeypatch.undo()
    file = tmp_path / "manifest.json"
    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"content_hash": "other"}))
    with pytest.raises(RunError, match=r"the data of .* changed since the run began: content_hash: other ->"):
        train(config, tmp_path, name="stopped")
    kept["components"]["video"]["records_read"] += 1  # one that is not drawn
    file.write_text(json.dumps(kept))
    assert train(config, tmp_path, name="stopped").status == "finished"


@pytest.mark.parametrize("batching", ["padded", "length_grouped", "packed_epoch"])
def test_every_batching_goes_on_where_it_stopped(settings, tmp_path, monkeypatch, batching):
    config = settings(f"batching={batching}", "batching.max_seq_len_tokens=220")
    train(config, tmp_path / "whole", name="whole")
    stop_after(monkeypatch, steps=1)
    with pytest.raises(Interrupted):
        train(config, tmp_path / "stopped", name="stopped")
    monkeypatch.undo()
    train(config, tmp_path / "stopped", name="stopped")
    assert losses_of(tmp_path / "stopped") == losses_of(tmp_path / "whole")
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert weights[0] == weights[1]


def test_a_stopped_lora_run_goes_on_to_the_same_losses(settings, tmp_path, monkeypatch):
    config = settings("tuning=lora", "optimizer.learning_rate=1e-3")
    assert config.tuning.lora.dropout > 0
    train(config, tmp_path / "whole", name="whole")
    stop_after(monkeypatch, steps=2)
    with pytest.raises(Interrupted, match="after step 2 of 3"):
        train(config, tmp_path / "stopped", name="stopped")
    monkeypatch.undo()
    train(config, tmp_path / "stopped", name="stopped")
    losses = losses_of(tmp_path / "whole")
    assert len(losses) == 3
    assert losses_of(tmp_path / "stopped") == losses
    for file in ("adapter_model.safetensors", "trained_parts.safetensors"):
        models = [(tmp_path / name / "model" / file).read_bytes() for name in ("whole", "stopped")]
        assert models[0] == models[1]


def stop_after(monkeypatch, steps):
    """Send this process SIGINT inside the given step, as Ctrl-C does."""
    original = FineTuning.training_step

    def step_and_interrupt(self, batch, batch_idx):
        if batch.step == steps - 1:
            signal.raise_signal(signal.SIGINT)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(FineTuning, "training_step", step_and_interrupt)


@pytest.mark.parametrize("same", [True, False])
def test_answers_of_a_model_that_was_trained_anew_since_are_asked_again(settings, tmp_path, monkeypatch, same):
    config = settings("benchmark=[world/short]", "benchmark.world_short.num_questions=6", "tuning=lora")
    write, losses = PredictionWriter.write, training_module.segment_losses
    answered = []

    def write_and_interrupt(self, *predictions):
        answered.extend(predictions)
        write(self, *predictions)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(PredictionWriter, "write", write_and_interrupt)
    with pytest.raises(Interrupted):
        train(config, tmp_path, name="run")
    kept = len(answered)
    assert 0 < kept < 6
    assert not checkpoints_in(tmp_path / "checkpoints")

    monkeypatch.setattr(PredictionWriter, "write", lambda self, *p: (answered.extend(p), write(self, *p)))
    if not same:
        monkeypatch.setattr(training_module, "segment_losses", lambda *arguments: losses(*arguments) * -1)
    score = train(config, tmp_path, name="run").scores["world_short"]["after"]
    assert len(answered) == (6 if same else kept + 6)
    assert sorted(read_predictions(tmp_path / score.predictions), key=Prediction.to_line) == sorted(
        answered[0 if same else kept :], key=Prediction.to_line
    )


def test_a_finished_run_is_kept_and_a_changed_one_refused(undisturbed, settings):
    folder, record, config = undisturbed
    before = (folder / "run.json").read_bytes()
    assert train(config, folder, name="again").ended_at == record.ended_at
    assert (folder / "run.json").read_bytes() == before
    with pytest.raises(RunError, match=r"other settings: optimizer.learning_rate: 0.0015 -> 0.1"):
        changed = replace(config, optimizer=replace(config.optimizer, learning_rate=0.1))
        train(changed, folder, name="changed")


def test_a_folder_is_held_while_its_run_is_carried_out(settings, tmp_path, monkeypatch):
    config, seen = settings(), []

    def looks(*_, **__):
        with pytest.raises(Timeout):
            FileLock(tmp_path / ".lock").acquire(timeout=0)
        seen.append("held")
        raise RuntimeError("ended")

    monkeypatch.setattr(training, "_carry_out", looks)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="ended"):
            train(config, tmp_path, name="held")
    assert seen == ["held", "held"]


def test_a_failed_run_says_why(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(FineTuning, "training_step", lambda *_: (_ for _ in ()).throw(RuntimeError("boom")))
    with pytest.raises(RuntimeError, match="boom"):
        train(settings(), tmp_path, name="failed")
    record = RunRecord.load(tmp_path)
    assert (record.status, record.error.type, record.error.message) == ("failed", "RuntimeError", "boom")


def test_nan_loss_stops_and_names_the_samples(settings, tmp_path, monkeypatch):
    original = training_module.segment_losses
    monkeypatch.setattr(training_module, "segment_losses", lambda *arguments: original(*arguments) * torch.nan)
    with pytest.raises(RunError, match=r"step 0 is NaN; its samples on this rank: .*/"):
        train(settings(), tmp_path, name="nan")


def test_the_peak_of_a_gpu_begins_anew_with_a_run(settings, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: begun.append("run"))
    monkeypatch.setattr("sparrow.commands.train.prepare", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("ended")))
    for name in ("one", "other"):
        with pytest.raises(RuntimeError, match="ended"):
            train(settings(), tmp_path / name, name=name)
    assert begun == ["run", "run"]


@pytest.mark.parametrize("part", ["vision", "projector", "language_model"])
def test_frozen_parts_stay_as_they_were(settings, tmp_path, part, tiny_checkpoint):
    others = {"vision", "projector", "language_model"} - {part}
    config = settings("mixture.num_samples=16", *(f"tuning.{other}.mode=frozen" for other in others))
    train(config, tmp_path, name="frozen")
    before = AutoModelForImageTextToText.from_pretrained(tiny_checkpoint("idefics3"))
    after = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    modules = {"vision": "vision_model", "projector": "connector", "language_model": "text_model"}
    for name, module in modules.items():
        pairs = zip(getattr(before.model, module).parameters(), getattr(after.model, module).parameters(), strict=True)
        changed = any(not torch.equal(a, b) for a, b in pairs)
        assert changed == (name == part), name


def test_plain_text_needs_no_frames(settings, tmp_path):
    config = settings(
        "mixture.components.text.present_as=text",
        "mixture.components.video.fraction=0.25",
        "mixture.components.text.fraction=0.75",
        "batching.micro_batch_size_samples=1",
    )
    train(config, tmp_path, name="text")
    record = RunRecord.load(tmp_path)
    assert record.data["text"].visual_tokens == 0
    assert record.data["text"].used == 18


def test_a_file_lost_during_training_is_counted_and_the_rest_goes_on(settings, tmp_path, monkeypatch):
    original = batching.encode
    config = settings("on_bad_sample=skip", "max_bad_fraction=0.05")
    lost = []

    def encode(sample, *arguments, **options):
        if sample.source == "world_clips" and (not lost or sample.id in lost):
            lost.append(sample.id)
            raise MediaError("the file is gone")
        return original(sample, *arguments, **options)

    monkeypatch.setattr(batching, "encode", encode)
    train(config, tmp_path, name="lost")
    record = RunRecord.load(tmp_path)
    counts = record.data["video"]
    assert counts.reconciles
    assert (counts.requested, counts.used, counts.rejected, counts.failed) == (16, 15, 0, 1)
    assert record.num_samples == 23
    assert counts.rejected_by_reason == {"while training: the file is gone": 1}
    noted = [json.loads(line) for line in (tmp_path / "failed-0.jsonl").read_text().splitlines()]
    assert {line["sample_id"] for line in noted} == set(lost)
    assert len(noted) == 1
    ledger = pd.read_parquet(tmp_path / "ledger.parquet").set_index("sample_id")
    assert ledger.loc[lost[0], "status"] == "failed"
    assert ledger.loc[lost[0], "detail"] == f"source 'world_clips', sample {lost[0]!r}: the file is gone"
    assert (ledger["status"] == "used").sum() == 23


def test_more_files_lost_during_training_than_a_run_bears_end_it(settings, tmp_path, monkeypatch):
    original, lost = batching.encode, set()

    def encode(sample, *arguments, **options):
        if len(lost) < 2 or sample.id in lost:
            lost.add(sample.id)
            raise MediaError("the file is gone")
        return original(sample, *arguments, **options)

    monkeypatch.setattr(batching, "encode", encode)
    with pytest.raises(DataError, match=r"2 samples could not be read while training; .* more than max_bad_fraction"):
        train(settings("on_bad_sample=skip", "max_bad_fraction=0.05"), tmp_path, name="lost")
    record = RunRecord.load(tmp_path)
    assert (record.status, record.data["video"].failed) == ("failed", 0)
    noted = [json.loads(line) for line in (tmp_path / "failed-0.jsonl").read_text().splitlines()]
    assert {line["sample_id"] for line in noted} == lost


def test_what_went_wrong_in_steps_that_are_done_again_is_forgotten(settings, tmp_path, monkeypatch):
    encode, step = batching.encode, FineTuning.training_step
    config = settings("on_bad_sample=skip", "max_bad_fraction=0.05")
    lost = []

    def fails_once(sample, *arguments, **options):
        if not lost or sample.id in lost:
            lost.append(sample.id)
            raise MediaError("the file is gone")
        return encode(sample, *arguments, **options)

    def ends_at_last(self, batch, batch_idx):
        if batch.step == 2:
            raise RuntimeError("ended")
        step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(batching, "encode", fails_once)
        patch.setattr(FineTuning, "training_step", ends_at_last)
        with pytest.raises(RuntimeError, match="ended"):
            train(config, tmp_path, name="run")
    noted = tmp_path / "failed-0.jsonl"
    assert {json.loads(line)["sample_id"] for line in noted.read_text().splitlines()} == set(lost)
    (tmp_path / "skipped-0.jsonl").write_text('{"step": 1, "reason": "NaN", "samples": []}\n{"step": 2, "rea')
    (tmp_path / "failed-1.jsonl").write_text('{"step": 2, "posi')  # of a rank that a kill ended
    record = train(config, tmp_path, name="run")
    assert (record.status, record.skipped_steps) == ("finished", [])
    assert not any(counts.rejected or counts.failed for counts in record.data.values())
    assert not noted.read_text()


@pytest.mark.timeout(60)
def test_a_folder_whose_id_was_given_by_an_older_rule_goes_on_and_one_of_other_settings_does_not(settings, tmp_path):
    config = settings()
    record = training_record(config, None)
    record.run_id, record.status = "an older id", "finished"
    record.save(tmp_path)
    assert open_run(tmp_path, training_record(config, None), config).run_id == "an older id"
    wider = replace(config, backbone=replace(config.backbone, tiny_width=2))
    with pytest.raises(RunError, match=r"holds a run with other settings: backbone\.tiny_width: 1 -> 2"):
        open_run(tmp_path, training_record(wider, None), wider)
    training_record(wider, None).save(tmp_path)
    with pytest.raises(RunError, match=r"holds a run with other settings: backbone\.tiny_width: 2 -> 1"):
        open_run(tmp_path, record, config)


def test_a_folder_of_other_settings_is_refused_also_while_its_run_goes_on(settings, tmp_path):
    training_record(settings(), None).save(tmp_path)
    with locked(tmp_path), pytest.raises(RunError, match="holds a run with other settings: seed: 0 -> 1; restore them"):
        train(settings("seed=1"), tmp_path, name="other")
