"""What callbacks keep on disk over kills and resumes."""

import json
from types import SimpleNamespace

from sparrow.training.callbacks import RecordTrouble, read_failed, read_skipped_steps


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
