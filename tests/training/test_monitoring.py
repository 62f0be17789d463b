"""Looking at a run: logs over a resume, validation, the trial, the profiler, steps that are not finite."""

import json
import logging
import os
import re
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from sparrow.commands.train import train
from sparrow.core.errors import ConfigError, DataError, RunError
from sparrow.data.batching import StepDataset, StepLoader
from sparrow.planning.run_inputs import prepare
from sparrow.runs.record import RunRecord
from sparrow.runs.status import Interrupted
from sparrow.training import module, trial
from sparrow.training.callbacks import Progress
from sparrow.training.module import FineTuning
from tests.commands.test_train import stop_after
from tests.conftest import SMALL_RUN
from tests.forks import run_ranks

# Random numbers that training must find as they were: dropout draws them.
DROPOUT = ["tuning=lora", "tuning.lora.dropout=0.3", "tuning.activation_checkpointing=false"]
UNWATCHED = ["trainer.try_longest_micro_batch=false", *DROPOUT]
WATCHED = ["validation.num_samples=6", "validation.every_n_steps=2", "checkpointing.keep_best=true", *DROPOUT]


def metrics(folder):
    """Figures by step, a column a metric; a figure that stands twice is an error."""
    return pd.read_csv(folder / "metrics.csv").pivot(index="step", columns="metric", values="value")


def training_part(ledger):
    return ledger[ledger["status"] != "held_out"].reset_index(drop=True)


@pytest.fixture(scope="module")
def unwatched(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unwatched")
    train(settings("mixture.num_samples=40", *UNWATCHED), folder, name="unwatched")
    return folder


@pytest.fixture(scope="module")
def watched(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched")
    train(settings("mixture.num_samples=40", *WATCHED), folder, name="watched")
    return folder


def test_validation_and_trial_change_nothing(unwatched, watched):
    losses = [metrics(folder)["train/loss"].tolist() for folder in (unwatched, watched)]
    assert len(losses[0]) == 5
    assert losses[0] == losses[1]
    assert RunRecord.load(unwatched).run_id == RunRecord.load(watched).run_id
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (unwatched, watched)]
    assert manifests[0]["content_hash"] == manifests[1]["content_hash"]
    ledgers = [pd.read_parquet(folder / "ledger.parquet") for folder in (unwatched, watched)]
    pd.testing.assert_frame_equal(ledgers[0], training_part(ledgers[1]))


def test_held_out_samples_are_counted_apart_and_never_trained_on(watched):
    ledger = pd.read_parquet(watched / "ledger.parquet")
    held_out = ledger[ledger["status"] == "held_out"]
    trained = training_part(ledger)
    assert held_out["component"].value_counts().to_dict() == {"video": 4, "text": 2}
    assert (held_out["first_step"] == -1).all()
    assert not set(zip(held_out["source"], held_out["row"], strict=True)) & set(
        zip(trained["source"], trained["row"], strict=True)
    )
    record = RunRecord.load(watched)
    assert {name: counts.held_out for name, counts in record.data.items()} == {"video": 4, "text": 2}
    assert all(counts.reconciles for counts in record.data.values())
    assert sum(counts.requested for counts in record.data.values()) == 40


def test_validation_losses_stand_at_their_steps_and_the_best_is_kept(watched):
    table = metrics(watched).dropna(subset="validation/loss")
    assert table.index.tolist() == [1, 3, 4]
    assert {"validation/loss_video", "validation/loss_text"} <= set(table.columns)
    best = torch.load(watched / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == table["validation/loss"].idxmin() + 1


def test_more_than_there_is_cannot_be_held_out(settings, tmp_path):
    with pytest.raises(DataError, match=r"more for validation.*lower validation.num_samples"):
        train(settings("validation.num_samples=1000"), tmp_path, name="greedy")


def test_another_number_held_out_leaves_the_training_samples(settings):
    few, many = (prepare(settings("mixture.num_samples=12", f"validation.num_samples={size}")).plan for size in (2, 8))
    pd.testing.assert_frame_equal(few.ledger, many.ledger)
    assert few.content_hash == many.content_hash
    assert set(few.held_out.ledger["sample_id"]) < set(many.held_out.ledger["sample_id"])


def test_logs_and_sums_go_on_after_a_stop(settings, tmp_path, monkeypatch):
    config = settings("validation.num_samples=3", "validation.every_n_steps=1", "checkpointing.keep_best=true")
    train(config, tmp_path / "undisturbed", name="undisturbed")
    folder = tmp_path / "stopped"
    stop_after(monkeypatch, steps=2)
    with pytest.raises(Interrupted):
        train(config, folder, name="stopped")
    monkeypatch.undo()
    with open(folder / "metrics.csv", "a") as file:
        file.write("2,train/loss,1000\n3,train/loss,1000\n")  # as if it had gone on after its last checkpoint
    train(config, folder, name="stopped")
    names = ["train/loss", "train/learning_rate_vision", "validation/loss"]
    pd.testing.assert_frame_equal(metrics(folder)[names], metrics(tmp_path / "undisturbed")[names])
    assert RunRecord.load(folder).status == "finished"


def test_the_bar_of_a_resumed_run_counts_all_steps_and_times_its_own(settings, tmp_path, monkeypatch, caplog):
    config = settings("trainer.progress_bar=true")
    stop_after(monkeypatch, steps=2)
    with pytest.raises(Interrupted):
        train(config, tmp_path, name="bar")
    monkeypatch.undo()
    bars = []

    monkeypatch.setattr(Progress, "on_train_epoch_end", lambda self, *_: bars.append(self.bar.format_dict))
    caplog.set_level(logging.INFO)
    train(config, tmp_path, name="bar")
    (bar,) = bars
    assert (bar["initial"], bar["n"], bar["total"]) == (2, 3, 3)
    told = [record.getMessage() for record in caplog.records if "sparrow.core.bars" in record.name]
    assert re.fullmatch(r"training: step 3 of 3, loss [\d.]+, +[\d.]+(step/s|s/step), 00:00 left", told[0]), told
    assert not any("Tip" in record.getMessage() for record in caplog.records)


def without_a_gradient(losses):
    """The same losses with a gradient that is NaN."""
    return losses + torch.sqrt(losses * 0)


@pytest.mark.parametrize(
    ("poison", "what"), [(lambda losses: losses * torch.nan, "loss"), (without_a_gradient, "gradient norm")]
)
@pytest.mark.parametrize("limit", ["1.0", "null"])
def test_a_step_that_is_not_finite_is_skipped_or_ends_the_run(settings, tmp_path, monkeypatch, poison, what, limit):
    losses_of, step_of = module.segment_losses, FineTuning.training_step
    now = []

    def training_step(self, batch, batch_idx):
        now[:] = [batch.step]
        return step_of(self, batch, batch_idx)

    def segment_losses(backbone, micro_batch):
        losses = losses_of(backbone, micro_batch)
        return poison(losses) if now == [1] else losses

    monkeypatch.setattr(FineTuning, "training_step", training_step)
    monkeypatch.setattr(module, "segment_losses", segment_losses)
    options = [f"optimizer.max_grad_norm={limit}", "optimizer.on_nan_loss=skip"]
    train(settings(*options), tmp_path / "skip", name="skip")
    record = RunRecord.load(tmp_path / "skip")
    assert (record.status, record.skipped_steps, record.num_steps) == ("finished", [1], 3)
    (line,) = (tmp_path / "skip" / "skipped-0.jsonl").read_text().splitlines()
    skipped = json.loads(line)
    assert skipped["reason"] == f"the {what} of step 1 is NaN"
    assert len(skipped["samples"]) == 8
    assert record.final_loss == pytest.approx(metrics(tmp_path / "skip")["train/loss"][2])
    if limit == "1.0":
        with pytest.raises(RunError, match=f"the {what} of step 1 is NaN; its samples on this rank: .*/"):
            train(settings(), tmp_path / "stop", name="stop")


@pytest.mark.slow
def test_two_ranks_validate_and_skip_as_one(settings, cache_root, tmp_path):
    """A learning rate without sense makes the third step's loss NaN or infinite."""
    options = [
        *("optimizer.learning_rate=1e30", "optimizer.on_nan_loss=skip", "optimizer.max_grad_norm=null"),
        *("validation.num_samples=7", "validation.every_n_steps=1"),
    ]
    train(settings(*options), tmp_path / "one", name="one")
    two = ("strategy=ddp", "trainer.devices=2", f"hydra.run.dir={tmp_path / 'two'}")
    for done in run_ranks(2, ("train", *SMALL_RUN, *options, *two), tmp_path, {"SPARROW_CACHE_ROOT": str(cache_root)}):
        assert done.returncode == 0, done.stderr
    one, two = (metrics(tmp_path / name) for name in ("one", "two"))
    assert two["validation/loss"][0] == pytest.approx(one["validation/loss"][0], rel=1e-5)
    assert two["validation/loss_text"][0] == pytest.approx(one["validation/loss_text"][0], rel=1e-5)
    records = [RunRecord.load(tmp_path / name) for name in ("one", "two")]
    assert [record.skipped_steps for record in records] == [[2], [2]]
    shares = [json.loads((tmp_path / "two" / f"skipped-{rank}.jsonl").read_text())["samples"] for rank in (0, 1)]
    whole = json.loads((tmp_path / "one" / "skipped-0.jsonl").read_text())["samples"]
    assert sorted(shares[0] + shares[1]) == sorted(whole)


def test_the_longest_micro_batch_is_tried_and_too_little_memory_comes_with_advice(
    settings, tmp_path, monkeypatch, caplog
):
    tried = []
    original = trial._try

    def out_of_memory(trainer, module, micro_batch):
        tried.append(micro_batch)
        monkeypatch.setattr(trial, "segment_losses", raise_out_of_memory)
        return original(trainer, module, micro_batch)

    def raise_out_of_memory(backbone, micro_batch):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(trial, "_try", out_of_memory)
    with (
        caplog.at_level(logging.INFO, logger="sparrow"),
        pytest.raises(RunError, match=r"batching\.micro_batch_size_samples.*Tried to allocate 20"),
    ):
        train(settings(), tmp_path, name="large")
    ledger = pd.read_parquet(tmp_path / "ledger.parquet")
    (micro_batch,) = tried
    assert max(micro_batch.lengths) == (ledger["visual_tokens"] + ledger["text_tokens"]).max()
    assert re.search(r"trying the longest micro-batch, 1 x \d+ tokens with \d+ frames; estimated", caplog.text)
    assert not (tmp_path / "checkpoints").exists(), "no step was made"


def test_the_profiler_writes_a_trace_of_some_steps(settings, tmp_path):
    train(settings("trainer.profiler=torch"), tmp_path, name="profiled")
    trace = json.loads((tmp_path / "trace-0.json").read_text())
    assert any("backward" in event.get("name", "").lower() for event in trace["traceEvents"])


def test_what_is_watched_is_checked_with_the_other_settings(settings):
    with pytest.raises(ConfigError) as caught:
        settings(
            "checkpointing.keep_best=true",
            "validation.every_n_steps=0",
            "trainer.profiler=yourkit",
            "trainer.peak_flops=-1",
            "schedule=wsd",
            "schedule.decay_form=sudden",
            "optimizer.on_nan_loss=pray",
            "+logger.comet.enabled=true",
            "optimizer.max_grad_norm=-1",
            "optimizer.beta2=1.5",
            "trainer.log_every_n_steps=0",
            "batching.num_workers=-1",
        )
    message = str(caught.value)
    assert "11 problems" in message
    for part in (
        "validation.num_samples",
        "'yourkit'",
        "peak_flops",
        "'sudden'",
        "'pray'",
        "'comet'",
        "max_grad_norm",
        "beta2",
        "log_every",
        "num_workers",
    ):
        assert part in message


@pytest.mark.slow
def test_compiled_blocks_give_the_same_losses(settings, tmp_path, unwatched):
    train(settings("mixture.num_samples=40", "trainer.compile=true", *UNWATCHED[:1]), tmp_path / "yes", name="yes")
    train(settings("mixture.num_samples=40", *UNWATCHED[:1]), tmp_path / "no", name="no")
    losses = [metrics(tmp_path / name)["train/loss"].tolist() for name in ("yes", "no")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "something was compiled"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_loading_needs_no_more_memory_with_time(settings):
    prepared = prepare(settings("batching.num_epochs=300"))
    dataset = StepDataset(prepared.plan, prepared)
    pages_kib = os.sysconf("SC_PAGE_SIZE") // 1024
    resident_mib = []
    children = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
    for number, _ in enumerate(StepLoader(dataset, num_workers=2)):
        if number in (200, 400, 600, 800):
            with open(children) as file:
                workers = file.read().split()
            assert len(workers) >= 2
            sizes = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in (os.getpid(), *workers)]
            resident_mib.append(sum(sizes) * pages_kib / 1024)
    assert number == 899
    assert resident_mib[-1] - resident_mib[0] < 16, resident_mib
