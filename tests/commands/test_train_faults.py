"""Faults on purpose: what is killed, full, broken or lost leaves a true record, and the run goes on as if it had not been."""

import errno
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import get_worker_info

from sparrow.commands.train import train
from sparrow.core import files
from sparrow.core.errors import DataError, RunError
from sparrow.data.batching import StepDataset
from sparrow.runs.record import RunRecord
from sparrow.runs.status import Interrupted
from sparrow.training import module, trial
from sparrow.training.checkpoints import SaveCheckpoints, checkpoints_in, damage
from sparrow.training.module import FineTuning
from tests.conftest import losses_of
from tests.forks import exit_code_of_fork

NUM_STEPS = 6
RUN = ("mixture.num_samples=48", "checkpointing.every_n_steps=1")


def kill_oneself():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def undisturbed_by(settings, tmp_path_factory):
    """Folder of an undisturbed run by its strategy; one and many shards round sums differently."""
    folders = {}

    def folder_of(strategy):
        if strategy not in folders:
            folders[strategy] = tmp_path_factory.mktemp(strategy)
            config = settings(*RUN, f"strategy={strategy}")
            folder = folders[strategy]
            assert exit_code_of_fork(lambda: train(config, folder, name="run")) == 0
        return folders[strategy]

    return folder_of


@pytest.fixture
def undisturbed(undisturbed_by):
    return undisturbed_by("single")


def goes_on_as_if_nothing_had_been(folder, undisturbed, config):
    assert exit_code_of_fork(lambda: train(config, folder, name="run")) == 0
    record = RunRecord.load(folder)
    assert record.status == "finished"
    expected = losses_of(undisturbed)
    found = losses_of(folder)
    assert len(expected) == NUM_STEPS
    assert record.final_loss == RunRecord.load(undisturbed).final_loss is not None
    assert {step: expected[step] for step in found} == found
    model = "model/model.safetensors"
    assert (folder / model).read_bytes() == (undisturbed / model).read_bytes()
    return record


@pytest.mark.parametrize(
    ("victim", "before"),
    [
        (1, True),
        (NUM_STEPS - 1, False),
        *(
            pytest.param(victim, before, marks=pytest.mark.slow)
            for victim in range(1, NUM_STEPS)
            for before in (True, False)
            if (victim, before) not in ((1, True), (NUM_STEPS - 1, False))
        ),
    ],
)
def test_a_run_killed_before_or_after_any_step_resumes_exactly(settings, tmp_path, undisturbed, victim, before):
    original = FineTuning.training_step

    def step(self, batch, batch_idx):
        if before and batch.step == victim:
            kill_oneself()
        original(self, batch, batch_idx)
        if batch.step == victim:
            kill_oneself()

    config = settings(*RUN)
    killed = exit_code_of_fork(lambda: train(config, tmp_path, name="run"), (FineTuning, "training_step", step))
    assert killed == -signal.SIGKILL
    killed = RunRecord.load(tmp_path)
    assert killed.status == "running"
    record = goes_on_as_if_nothing_had_been(tmp_path, undisturbed, config)
    assert "was killed without a word" in record.notes[0]
    if killed.num_steps_done:
        assert record.time_s["train"] > killed.time_s["train"] > 0, "seconds up to the heartbeat count"


@pytest.mark.parametrize("num_workers", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_ctrl_c_ends_a_run_whose_next_step_is_never_loaded(settings, tmp_path, undisturbed, num_workers):
    load = StepDataset.__getitem__

    def hang(self, number):
        if number == 2:
            run = os.getppid() if get_worker_info() else os.getpid()
            threading.Timer(0.5, os.kill, [run, signal.SIGINT]).start()
            time.sleep(60)
        return load(self, number)

    def work():
        with pytest.raises(Interrupted, match=r"stopped by SIGINT after step 2 of 6; a checkpoint is kept"):
            train(config, tmp_path, name="run")

    config, began = settings(*RUN, f"batching.num_workers={num_workers}"), time.monotonic()
    assert exit_code_of_fork(work, (StepDataset, "__getitem__", hang)) == 0
    assert time.monotonic() - began < 50
    assert RunRecord.load(tmp_path).status == "interrupted"
    goes_on_as_if_nothing_had_been(tmp_path, undisturbed, config)


@pytest.mark.parametrize("written", ["half", pytest.param("whole", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("victim", "strategy"),
    [
        (2, "single"),
        *(pytest.param(victim, "single", marks=pytest.mark.slow) for victim in range(3, NUM_STEPS)),
        *(pytest.param(victim, "fsdp", marks=pytest.mark.slow) for victim in (2, NUM_STEPS - 1)),
    ],
)
def test_a_run_killed_while_writing_a_checkpoint_resumes_exactly(
    settings, tmp_path, undisturbed_by, victim, strategy, written
):
    original = torch.save

    def save(value, file):
        original(value, file)
        if value.get("global_step") == victim:
            if not isinstance(file, Path):
                file.flush()
            path = file if isinstance(file, Path) else Path(f"/proc/self/fd/{file.fileno()}").readlink()
            if written == "half":
                os.truncate(path, path.stat().st_size // 2)
            kill_oneself()

    config = settings(*RUN, f"strategy={strategy}")
    killed = exit_code_of_fork(lambda: train(config, tmp_path, name="run"), (torch, "save", save))
    assert killed == -signal.SIGKILL
    kept = checkpoints_in(tmp_path / "checkpoints")
    assert [path.name for path in kept] == [f"step={victim - n:07d}.ckpt" for n in (1, 2) if victim > n]
    assert all(damage(path) is None for path in kept)
    goes_on_as_if_nothing_had_been(tmp_path, undisturbed_by(strategy), config)
    assert not list((tmp_path / "checkpoints").glob(".*")), "what was half written is swept up"


def cut_off(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def one_byte_changed(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


@pytest.fixture
def stopped(settings, tmp_path):
    """A run that was stopped after four steps, and its settings."""

    def stop(*overrides):
        config = settings(*RUN, *overrides)
        original = FineTuning.training_step

        def step(self, batch, batch_idx):
            if batch.step == 3:
                signal.raise_signal(signal.SIGUSR1)
            original(self, batch, batch_idx)

        def interrupted():
            with pytest.raises(Interrupted, match="stopped by SIGUSR1 after step 4 of 6"):
                train(config, tmp_path, name="run")

        assert exit_code_of_fork(interrupted, (FineTuning, "training_step", step)) == 0
        assert RunRecord.load(tmp_path).status == "interrupted"
        return tmp_path, config

    return stop


@pytest.mark.parametrize(
    ("strategy", "break_it"),
    [
        ("single", one_byte_changed),
        pytest.param("fsdp", cut_off, marks=pytest.mark.slow),
        pytest.param("single", cut_off, marks=pytest.mark.slow),
        pytest.param("fsdp", one_byte_changed, marks=pytest.mark.slow),
    ],
)
def test_a_broken_checkpoint_is_passed_over_and_said(stopped, undisturbed_by, break_it, strategy):
    folder, config = stopped(f"strategy={strategy}")
    newest = checkpoints_in(folder / "checkpoints")[0]
    break_it(next(newest.glob("*.safetensors")) if newest.is_dir() else newest)
    record = goes_on_as_if_nothing_had_been(folder, undisturbed_by(strategy), config)
    assert any("step=0000004.ckpt cannot be read" in note for note in record.notes)
    assert set(losses_of(folder)) == set(range(NUM_STEPS))


def test_a_run_goes_on_with_a_clock_that_was_set_back(stopped, undisturbed):
    folder, config = stopped()
    earlier = RunRecord.load(folder)
    earlier.started_at = earlier.heartbeat_at = earlier.ended_at = "2999-01-01T00:00:00+00:00"
    earlier.save(folder)
    for path in (folder / "checkpoints").iterdir():
        os.utime(path, (2**33, 2**33))
    record = goes_on_as_if_nothing_had_been(folder, undisturbed, config)
    assert all(earlier.time_s[stage] <= seconds < 1000 for stage, seconds in record.time_s.items() if stage == "train")


@pytest.mark.parametrize("lost", ["newest", "all"])
def test_a_deleted_checkpoint_costs_steps_and_where_all_are_gone_that_is_told(stopped, undisturbed, lost):
    folder, config = stopped()
    newest, *_ = checkpoints_in(folder / "checkpoints")
    newest.unlink() if lost == "newest" else shutil.rmtree(folder / "checkpoints")
    record = goes_on_as_if_nothing_had_been(folder, undisturbed, config)
    told = "no checkpoint is left of the steps that were done; they are done again"
    assert (told in record.notes) == (lost == "all")


def test_no_readable_checkpoint_is_an_error_not_a_new_start(stopped):
    folder, config = stopped()
    for path in checkpoints_in(folder / "checkpoints"):
        path.write_bytes(b"")
    with pytest.raises(RunError, match=r"no checkpoint in .* can be read; they are kept there as unreadable-\*"):
        train(config, folder, name="run")
    assert RunRecord.load(folder).status == "failed"


def test_a_killed_data_worker_is_named(settings, tmp_path, undisturbed, monkeypatch):
    original = StepDataset.__getitem__

    def item(self, step):
        if step == 3:
            self.at_work.begin(int(self.plan.steps[step][0]))
            kill_oneself()
        return original(self, step)

    config = settings(*RUN, "batching.num_workers=1")
    with monkeypatch.context() as patch:
        patch.setattr(StepDataset, "__getitem__", item)
        # On a busy machine torch may learn that the worker is gone before it learns of what.
        with pytest.raises(
            DataError, match=r"a data worker was lost \((signal: Killed|it ended)\).*batching.num_workers"
        ):
            train(config, tmp_path, name="run")
    record = RunRecord.load(tmp_path)
    assert (record.status, record.error.type) == ("failed", "DataError")
    goes_on_as_if_nothing_had_been(tmp_path, undisturbed, config)


@pytest.mark.parametrize("strategy", ["single", pytest.param("fsdp", marks=pytest.mark.slow)])
@pytest.mark.parametrize("full", [pytest.param("checkpoints", marks=pytest.mark.slow), "everything"])
def test_a_full_disk_spoils_no_earlier_checkpoint(settings, tmp_path, undisturbed_by, full, strategy):
    original = os.fsync
    checkpoints = tmp_path / "checkpoints"

    def fsync(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        concerned = full == "everything" or "checkpoints" in str(path)
        if concerned and not path.is_dir() and checkpoints_in(checkpoints):
            raise OSError(errno.ENOSPC, "No space left on device")
        original(descriptor)

    config = settings(*RUN, f"strategy={strategy}")

    def fails():
        file = r"checkpoint .*step=0000002.ckpt" if full == "checkpoints" else ".*"
        with pytest.raises(RunError, match=rf"{file} could not be written: .*No space left on device.*free space"):
            train(config, tmp_path, name="run")

    assert exit_code_of_fork(fails, (os, "fsync", fsync)) == 0
    assert [path.name for path in checkpoints_in(checkpoints)] == ["step=0000001.ckpt"]
    # Where the record cannot be written either, it still says that the run was under way.
    assert RunRecord.load(tmp_path).status == ("failed" if full == "checkpoints" else "running")
    goes_on_as_if_nothing_had_been(tmp_path, undisturbed_by(strategy), config)


def test_a_run_folder_that_cannot_be_written_to(settings, tmp_path, monkeypatch):
    def refuse(*_, dir, **__):
        raise OSError(errno.EROFS, "Read-only file system", str(dir))

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    with pytest.raises(RunError, match=r"could not be written: Read-only file system; free space or fix"):
        train(settings(*RUN), tmp_path, name="run")


def test_a_nan_is_stopped_before_it_is_learnt(settings, tmp_path, undisturbed, monkeypatch):
    original = module.segment_losses
    calls = [0]

    def poisoned(backbone, micro_batch):
        losses = original(backbone, micro_batch)
        calls[0] += 1
        return losses * torch.nan if calls[0] == 4 else losses

    config = settings(*RUN)
    with monkeypatch.context() as patch:
        patch.setattr(module, "segment_losses", poisoned)
        with pytest.raises(RunError, match=r"the loss of step 3 is NaN"):
            train(config, tmp_path, name="run")
    assert RunRecord.load(tmp_path).status == "failed"
    goes_on_as_if_nothing_had_been(tmp_path, undisturbed, config)


@pytest.mark.parametrize(
    ("victim", "stopped_after"), [(2, 4), pytest.param(NUM_STEPS - 1, NUM_STEPS, marks=pytest.mark.slow)]
)
def test_a_signal_that_comes_while_the_ranks_add_up_their_wishes_is_not_lost(
    settings, tmp_path, undisturbed, victim, stopped_after
):
    original = FineTuning.sum_over_ranks

    def add_up(self, values):
        if self.trainer.global_step == victim and len(values) > 2:  # the sums of a step, the wish to stop among them
            signal.raise_signal(signal.SIGUSR1)
        return original(self, values)

    config = settings("mixture.num_samples=48")

    def interrupted():
        with pytest.raises(Interrupted, match=f"stopped by SIGUSR1 after step {stopped_after} of {NUM_STEPS}"):
            train(config, tmp_path, name="run")

    assert exit_code_of_fork(interrupted, (FineTuning, "sum_over_ranks", add_up)) == 0
    assert RunRecord.load(tmp_path).status == "interrupted"
    assert [path.name for path in checkpoints_in(tmp_path / "checkpoints")] == [f"step={stopped_after:07d}.ckpt"]
    goes_on_as_if_nothing_had_been(tmp_path, undisturbed, config)


def test_a_signal_after_the_last_step_ends_the_run_where_it_is(settings, tmp_path, undisturbed):
    config = settings("mixture.num_samples=48")

    def interrupted():
        with pytest.raises(Interrupted, match=r"^stopped by SIGTERM$"):
            train(config, tmp_path, name="run")

    stop = (FineTuning, "on_train_end", lambda _: signal.raise_signal(signal.SIGTERM))
    assert exit_code_of_fork(interrupted, stop) == 0
    assert RunRecord.load(tmp_path).status == "interrupted"
    goes_on_as_if_nothing_had_been(tmp_path, undisturbed, config)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_before_training_ends_the_run_as_interrupted(settings, tmp_path, monkeypatch, number):
    monkeypatch.setattr("sparrow.commands.train.prepare", lambda *_, **__: signal.raise_signal(number))
    with pytest.raises(Interrupted, match=f"stopped by {number.name}"):
        train(settings(*RUN), tmp_path, name="run")
    assert RunRecord.load(tmp_path).status == "interrupted"
    assert signal.getsignal(number) == signal.SIG_DFL


@pytest.mark.parametrize(
    ("at", "times"), [((trial.TryLongest, "on_train_start"), 1), ((FineTuning, "training_step"), 2)]
)
def test_ctrl_c_that_no_step_can_be_ended_for_stops_the_run_at_once(settings, tmp_path, at, times):
    config = settings(*RUN)

    def press(*_):
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)

    def interrupted():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell runs in the background ignores it
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path, name="run")

    assert exit_code_of_fork(interrupted, (*at, press)) == 0
    assert RunRecord.load(tmp_path).status == "interrupted"


def test_checkpoints_every_half_hour_and_the_last_few(settings, tmp_path, monkeypatch):
    times = iter(range(0, 100_000, 11 * 60))
    clock = SimpleNamespace(monotonic=lambda: float(next(times)))
    monkeypatch.setattr("sparrow.training.checkpoints.time", clock)
    saved = []
    original = SaveCheckpoints.save
    monkeypatch.setattr(
        SaveCheckpoints, "save", lambda self, trainer: (saved.append(trainer.global_step), original(self, trainer))
    )
    train(settings("mixture.num_samples=48", "checkpointing.keep_last=1"), tmp_path, name="run")
    assert saved == [3, 6]
    assert [path.name for path in checkpoints_in(tmp_path / "checkpoints")] == ["step=0000006.ckpt"]
