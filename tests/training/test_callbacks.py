"""What callbacks keep on disk over kills and resumes."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest
import torch.distributed as dist

from sparrow.core.errors import RunError
from sparrow.data.plan import Plan
from sparrow.training.callbacks import RanksAgree, RecordTrouble
from sparrow.training.trouble import read_failed, read_skipped_steps


def test_trouble_of_steps_before_the_resumed_one_is_kept(tmp_path):
    for rank in range(2):
        lines = [json.dumps({"step": step, "sample_id": f"{rank}/{step}"}) for step in range(rank, 4)]
        (tmp_path / f"failed-{rank}.jsonl").write_text("\n".join([*lines, '{"step": 4, "sam']))
    (tmp_path / "skipped-1.jsonl").write_text('{"step": 1, "reason": "NaN"}\n{"step": 2, "reason": "NaN"}\n')
    assert [line["step"] for line in read_failed(tmp_path)] == [0, 1, 2, 3, 1, 2, 3], "half a line is passed over"
    for rank in (1, 0):
        trainer = SimpleNamespace(is_global_zero=rank == 0, global_step=2)
        RecordTrouble(tmp_path).on_train_start(trainer, SimpleNamespace())
    assert [line["sample_id"] for line in read_failed(tmp_path)] == ["0/0", "0/1", "1/1"]
    assert read_skipped_steps(tmp_path) == [1]


def test_all_ranks_must_be_there():
    plan = Plan(pd.DataFrame(), [], "a")
    RanksAgree(1, plan).on_train_start(SimpleNamespace(world_size=1), SimpleNamespace())
    with pytest.raises(RunError, match=r"1 processes train, but .* ask for 2; let hydra/launcher=parallel"):
        RanksAgree(2, plan).on_train_start(SimpleNamespace(world_size=1), SimpleNamespace())


def test_ranks_must_have_planned_the_same(monkeypatch):
    def plan(content_hash, held_out=None, **fonts):
        return Plan(pd.DataFrame(), [], content_hash, held_out=held_out, fonts=fonts)

    def compare(*plans):
        """As the ranks would: what each sends is gathered."""
        sent = []
        monkeypatch.setattr(
            dist,
            "all_gather_object",
            lambda into, own: [sent.append(own), into.__setitem__(slice(None), [own] * len(into))],
        )
        for own in plans:
            RanksAgree(len(plans), own).on_train_start(SimpleNamespace(world_size=len(plans)), SimpleNamespace())
        monkeypatch.setattr(dist, "all_gather_object", lambda into, _: into.__setitem__(slice(None), sent))
        RanksAgree(len(plans), plans[0]).on_train_start(SimpleNamespace(world_size=len(plans)), SimpleNamespace())

    compare(plan("a", plan("b")), plan("a", plan("b")))
    with pytest.raises(
        RunError, match=r"rank 0, 2: 0 samples, hash a, .*; rank 1: .* hash b, .*; run the same command again"
    ):
        compare(plan("a"), plan("b"), plan("a"))
    with pytest.raises(RunError, match=r"held out 0 samples, hash b; rank 1: .*, held out nothing\)"):
        compare(plan("a", plan("b")), plan("a"))
    with pytest.raises(RunError, match=r"different fonts \(NotoSansThai, NotoSansX\); .*fonts_root"):
        compare(plan("a", Same="0", NotoSansThai="1"), plan("a", Same="0", NotoSansThai="2", NotoSansX="3"))
