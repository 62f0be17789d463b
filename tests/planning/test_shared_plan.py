from types import SimpleNamespace

import pandas as pd
import pytest

from sparrow.commands.train import training_record
from sparrow.core.errors import RunError
from sparrow.planning import run_inputs
from sparrow.planning.run_inputs import prepare
from sparrow.planning.shared_plan import share_plan, shared_plan, without_earlier_plan
from sparrow.runs import status


@pytest.mark.parametrize("batching", ["padded", "packed_epoch"])
def test_other_ranks_read_the_plan_that_rank_0_made(settings, tmp_path, batching):
    config = settings(f"batching={batching}", "batching.max_seq_len_tokens=220", "validation.num_samples=5")
    made = prepare(config).plan
    share_plan(made, tmp_path)
    read = shared_plan(tmp_path, config.batching)
    for one, other in ((made, read), (made.held_out, read.held_out)):
        pd.testing.assert_frame_equal(one.ledger, other.ledger)
        assert [step.tolist() for step in one.steps] == [step.tolist() for step in other.steps]
        assert one.manifest() == other.manifest()
    assert [b.tolist() for b in made.micro_batches(1, 3)[2]] == [b.tolist() for b in read.micro_batches(1, 3)[2]]


def test_a_rank_compares_the_fonts_of_its_own_machine(settings, tmp_path, monkeypatch):
    share_plan(prepare(settings("text_to_image.fallback_fonts=null")).plan, tmp_path)
    (tmp_path / "none").mkdir()
    monkeypatch.setattr(run_inputs, "is_main_process", lambda: False)
    own = settings("text_to_image.fallback_fonts=null", f"text_to_image.fonts_root={tmp_path / 'none'}")
    assert list(prepare(own, run_folder=tmp_path).plan.fonts) == ["LiberationSans-Regular.ttf"]


def test_a_rank_waits_for_the_plan_of_this_start_and_not_of_a_run_that_ended(settings, tmp_path, monkeypatch):
    config = settings()
    plan = prepare(config).plan

    def meanwhile(happens):
        monkeypatch.setattr(status, "time", SimpleNamespace(sleep=lambda _: happens()))

    share_plan(plan, tmp_path)
    with without_earlier_plan(tmp_path):
        meanwhile(lambda: share_plan(plan, tmp_path))
        assert shared_plan(tmp_path, plan.batching).content_hash == plan.content_hash
    assert not list(tmp_path.iterdir()), "what an earlier start left, and this one, is removed"
    meanwhile(lambda: training_record(config, None).end(tmp_path, "failed"))
    with pytest.raises(RunError, match=r"rank 0 of .* is failed"):
        shared_plan(tmp_path, plan.batching)
