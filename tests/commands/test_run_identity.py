"""Whose files a run folder holds: what is resumed, refused, archived or taken over."""

from dataclasses import replace
from shutil import copytree, rmtree

import pytest
from safetensors.torch import load_file, save_file

from sparrow.commands.train import train
from sparrow.core.errors import RunError
from sparrow.report.confounds import undeclared_differences
from sparrow.runs.find import find_runs
from sparrow.runs.folder import archive
from sparrow.runs.record import RunRecord
from sparrow.training.checkpoints import checkpoints_in
from sparrow.training.module import FineTuning

RUN = ("mixture.num_samples=24", "checkpointing.every_n_steps=1", "checkpointing.keep_last=3")


@pytest.fixture(scope="module")
def undisturbed(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    config = settings(*RUN)
    return folder, train(config, folder, name="undisturbed"), config


def _stopped_run(undisturbed, folder):
    """A copy of the finished run as a kill after its first checkpoint would have left it."""
    copytree(undisturbed[0], folder, dirs_exist_ok=True)
    for checkpoint in checkpoints_in(folder / "checkpoints")[:-1]:
        checkpoint.unlink()
    rmtree(folder / "model")
    return undisturbed[2]


def _with_rate(config, learning_rate):
    return replace(config, optimizer=replace(config.optimizer, learning_rate=learning_rate))


@pytest.mark.parametrize("left", ["everything", "checkpoints"])
def test_without_its_record_a_run_is_resumed_by_its_own_settings_alone(undisturbed, tmp_path, left):
    config = _stopped_run(undisturbed, tmp_path)
    for name in ("run.json", "manifest.json", "metrics.csv") if left == "checkpoints" else ("run.json",):
        (tmp_path / name).unlink()
    with pytest.raises(RunError, match=rf"(?s)of run {undisturbed[1].run_id}.*restart=true"):
        train(_with_rate(config, 0.1), tmp_path, name="other")
    record = train(config, tmp_path, name="same")
    assert record.final_loss == undisturbed[1].final_loss


@pytest.mark.parametrize("name", ["manifest.json", "metrics.csv"])
def test_files_of_an_unknown_run_are_refused(settings, tmp_path, name):
    (tmp_path / name).write_text("{}" if name == "manifest.json" else "step,metric,value\n1,train/loss,0.5\n")
    with pytest.raises(RunError, match=rf"holds {name} of a run whose run.json is missing.*unknown.*restart=true"):
        train(settings(), tmp_path, name="other")


def test_restart_archives_the_run_and_trains_anew(undisturbed, tmp_path):
    config = replace(_with_rate(undisturbed[2], 0.001), restart=True)
    copytree(undisturbed[0], tmp_path / "run")
    record = train(config, tmp_path / "run", name="anew")
    assert record.num_steps_done == 3 and record.final_loss != undisturbed[1].final_loss
    [archived] = (tmp_path / "run").glob("archived-*")
    assert (archived / "run.json").read_bytes() == (undisturbed[0] / "run.json").read_bytes()
    assert checkpoints_in(archived / "checkpoints")
    [found] = find_runs([tmp_path])
    assert found.record.run_id == record.run_id, "the report does not count an archived run"


@pytest.mark.parametrize("left", ["metrics.csv", "model/model.safetensors"])
def test_restart_archives_what_is_left_of_a_run_without_its_record(tmp_path, left):
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).write_text("x")
    archive(tmp_path)
    [archived] = tmp_path.iterdir()
    assert (archived / left).read_text() == "x"


def test_a_run_that_failed_before_its_first_checkpoint_leaves_its_folder_to_other_settings(
    settings, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(FineTuning, "training_step", lambda *_: (_ for _ in ()).throw(RuntimeError("boom")))
        with pytest.raises(RuntimeError, match="boom"):
            train(settings(), tmp_path, name="failed")
    config = settings("optimizer.learning_rate=0.001")
    record = train(config, tmp_path, name="other")
    assert (record.status, record.config["optimizer"]["learning_rate"]) == ("finished", 0.001)


def test_one_changed_value_of_the_base_checkpoint_is_a_difference(undisturbed, tmp_path):
    base, run = tmp_path / "base", tmp_path / "run"
    copytree(undisturbed[0] / "model", base)
    backbone = replace(undisturbed[2].backbone, tiny=False, checkpoint=str(base))
    config = replace(undisturbed[2], backbone=backbone)
    before = train(config, run, name="run")
    tensors = load_file(base / "model.safetensors")
    name = next(iter(tensors))
    tensors[name].view(-1)[0] += 1
    save_file(tensors, base / "model.safetensors", metadata={"format": "pt"})
    rmtree(run / "model")
    record = RunRecord.load(run)
    record.status = "interrupted"
    record.save(run)
    with pytest.raises(RunError, match=r"the files of .*base changed since the run"):
        train(config, run, name="run")
    after = train(config, tmp_path / "other", name="run")
    differences = undeclared_differences([("a", before), ("b", after)], [])
    assert [d.what for d in differences] == ["files of the base checkpoint (seed 0, data_seed 0)"]
