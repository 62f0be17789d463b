"""What identifies the model that is asked, and who may ask it at a time."""

import json
import shutil
import signal
from pathlib import Path

import pytest
from filelock import FileLock, Timeout

from sparrow.commands.evaluate import evaluate
from sparrow.core.errors import BackboneError, RunError
from sparrow.models.fingerprint import fingerprint
from sparrow.models.loading import load_backbone
from sparrow.runs.record import RunRecord
from sparrow.runs.status import Interrupted
from sparrow.settings import EvaluateConfig


@pytest.fixture
def copy(tiny_checkpoint, tmp_path):
    """Make a copy of the tiny checkpoint."""
    return lambda name: Path(shutil.copytree(tiny_checkpoint("idefics3"), tmp_path / name))


def changed(path: Path, **settings: object) -> None:
    """Write settings into a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_weights_and_what_shapes_the_question_identify_a_folder(copy):
    folders = [
        copy(name) for name in ("as it is", "weights", "tokenizer", "template", "config", "pixels", "means", "turned")
    ]
    _, weights, tokenizer, template, config, pixels, means_of, turned = folders
    for folder in (folders[0], weights):
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with open(weights / "pytorch_model.bin", "ab") as file:
        file.write(b"other")
    changed(tokenizer / "tokenizer.json", normalizer=None, model={})
    (template / "chat_template.jinja").write_text("{{ messages }}")
    changed(config / "config.json", scale_factor=4)
    changed(pixels / "processor_config.json", image_seq_len=1)
    for folder, means in ((means_of, [0.1, 0.2, 0.3]), (turned, [0.3, 0.2, 0.1])):
        changed(folder / "processor_config.json", image_mean=means)
    assert len({fingerprint(str(folder), None) for folder in folders}) == len(folders)


def test_saving_a_model_again_changes_nothing(copy, tmp_path):
    folder = copy("one")
    backbone = load_backbone(str(folder), frame_size_px=64)
    backbone.save(tmp_path / "first")
    backbone.tokenizer(["a", "a b c"], padding=True, truncation=True, max_length=2)
    backbone.save(tmp_path / "second")
    changed(tmp_path / "second" / "config.json", transformers_version="9.0", _name_or_path=str(tmp_path))
    (tmp_path / "second" / "training_args.bin").write_bytes(b"when and where")
    assert fingerprint(str(tmp_path / "second"), None) == fingerprint(str(tmp_path / "first"), None)


def test_saving_adapters_again_changes_nothing_and_another_base_does(copy, tmp_path):
    base, other = copy("base"), copy("other")
    changed(other / "config.json", scale_factor=4)
    prints = []
    for on, modules in ((base, ["a", "b"]), (base, ["b", "a"]), (base, ["a"]), (other, ["a", "b"])):
        folder = tmp_path / f"adapters {len(prints)}"
        folder.mkdir()
        settings = {"base_model_name_or_path": str(on), "target_modules": modules}  # a set, in any order
        (folder / "adapter_config.json").write_text(json.dumps(settings))
        prints.append(fingerprint(str(folder), None))
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_a_hub_id_is_identified_by_its_commit(copy, hub):
    name = hub(old=copy("old"))
    before = fingerprint(name, None)
    assert before == fingerprint(name, "old")
    hub(new=copy("new"))
    assert fingerprint(name, None) == fingerprint(name, "new") != before
    assert fingerprint(name, "old") == before
    assert fingerprint("not/here", None) != fingerprint("not/here", "old")


def test_a_damaged_file_is_named(copy):
    folder = copy("damaged")
    (folder / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(BackboneError, match=r"tokenizer\.json is damaged"):
        fingerprint(str(folder), None)


@pytest.fixture
def asked(settings, copy):
    return settings(
        f"checkpoint={copy('asked')}",
        "benchmark=[world/short]",
        "benchmark.world_short.num_questions=2",
        config_name="evaluate",
        schema=EvaluateConfig,
        small=False,
    )


def test_a_signal_ends_an_evaluation_as_interrupted_and_it_goes_on(asked, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sparrow.commands.evaluate.answer_all", lambda *_: signal.raise_signal(signal.SIGUSR1))
        with pytest.raises(Interrupted, match="SIGUSR1"):
            evaluate(asked, tmp_path / "run")
    assert RunRecord.load(tmp_path / "run").status == "interrupted"
    assert evaluate(asked, tmp_path / "run").status == "finished"


def test_the_folder_of_a_checkpoint_whose_files_have_changed_is_refused(asked, tmp_path):
    evaluate(asked, tmp_path / "run")
    changed(Path(asked.checkpoint) / "processor_config.json", noted="x")
    with pytest.raises(RunError, match="the files of the checkpoint are other ones; restore them"):
        evaluate(asked, tmp_path / "run")


def test_a_folder_is_held_while_its_evaluation_is_carried_out(asked, tmp_path, monkeypatch):
    seen = []

    def looks(*_):
        with pytest.raises(Timeout):
            FileLock(tmp_path / ".lock").acquire(timeout=0)
        seen.append("held")
        raise RuntimeError("ended")

    monkeypatch.setattr("sparrow.commands.evaluate.answer_all", looks)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="ended"):
            evaluate(asked, tmp_path)
    assert seen == ["held", "held"]
