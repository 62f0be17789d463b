"""What a run's folder holds decides whether another run may go on there."""

from dataclasses import replace

import pytest

from sparrow.core.errors import RunError
from sparrow.runs.folder import earlier_run, training_record
from sparrow.settings import ExperimentConfig


def with_engine(name):
    base = ExperimentConfig()
    return replace(base, text_to_image=replace(base.text_to_image, layout_engine=name))


@pytest.mark.parametrize(("before", "now"), [("basic", "auto"), ("auto", "basic")])
def test_a_run_of_a_former_default_is_not_taken_for_one_of_todays(tmp_path, before, now):
    earlier, config = training_record(with_engine(before), None), with_engine(now)
    earlier.end(tmp_path, "finished")
    record = training_record(config, None)
    assert record.run_id == earlier.run_id
    with pytest.raises(RunError, match=f"other settings: text_to_image.layout_engine: {before} -> {now}; restore"):
        earlier_run(tmp_path, record, config)
    assert earlier_run(tmp_path, record, with_engine(before)).status == "finished"


def test_a_run_from_before_a_default_changed_goes_on(tmp_path):
    earlier, config = training_record(with_engine("basic"), None), with_engine("auto")
    del earlier.config["text_to_image"]["augment"]  # which came with the engine `auto`
    earlier.end(tmp_path, "finished")
    assert earlier_run(tmp_path, training_record(config, None), config).status == "finished"
