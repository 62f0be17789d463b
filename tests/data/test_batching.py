import time
from dataclasses import replace

import pytest
import torch

from sparrow.core.errors import DataError, MediaError
from sparrow.data import batching
from sparrow.data.batching import StepDataset, StepLoader
from sparrow.planning.run_inputs import prepare


@pytest.fixture(scope="module")
def prepared(settings):
    return prepare(settings())


def dataset_of(prepared, **options):
    return StepDataset(prepared.plan, prepared, **options)


def test_a_step_is_the_same_whenever_and_wherever_it_is_loaded(prepared):
    dataset = dataset_of(prepared)
    whole = list(StepLoader(dataset, 0))
    resumed = list(StepLoader(dataset, 2, first_step=1))
    assert [batch.step for batch in resumed] == [1, 2]
    for one, other in zip(whole[1:], resumed, strict=True):
        assert one.sample_ids == other.sample_ids
        for a, b in zip(one.micro_batches, other.micro_batches, strict=True):
            assert torch.equal(a.input_ids, b.input_ids)
            assert torch.equal(a.labels, b.labels)


def failing_for(monkeypatch, sample_id, what):
    original = batching.encode

    def encode(sample, *arguments, **options):
        if sample.id == sample_id:
            what()
        return original(sample, *arguments, **options)

    monkeypatch.setattr(batching, "encode", encode)


def gone():
    raise MediaError("the file is gone")


def test_a_sample_that_fails_later_leaves_its_slot_empty(prepared, monkeypatch):
    victim = prepared.plan.ledger["sample_id"].iloc[prepared.plan.steps[0][0]]
    undisturbed = dataset_of(prepared)[0]
    failing_for(monkeypatch, victim, gone)
    with pytest.raises(DataError, match=rf"sample '{victim}': the file is gone"):
        dataset_of(prepared)[0]
    batch = dataset_of(prepared, skip_failed=True)[0]
    assert [(f.sample_id, f.reason) for f in batch.failed] == [(victim, "the file is gone")]
    assert batch.sample_ids == undisturbed.sample_ids
    rows = sum(int((m.components >= 0).sum()) for m in batch.micro_batches)
    assert rows == len(undisturbed.sample_ids) - 1
    assert len(batch.micro_batches) == len(undisturbed.micro_batches)


def test_an_error_in_a_worker_is_one_message(prepared, monkeypatch):
    victim = prepared.plan.ledger["sample_id"].iloc[prepared.plan.steps[0][0]]
    failing_for(monkeypatch, victim, gone)
    with pytest.raises(DataError) as caught:
        list(StepLoader(dataset_of(prepared), 1))
    assert (
        str(caught.value)
        == f"source '{prepared.plan.ledger.set_index('sample_id').loc[victim, 'source']}', sample '{victim}': the file is gone"
    )


def test_a_worker_that_hangs_is_an_error_with_the_samples_name(prepared, monkeypatch):
    victim = prepared.plan.ledger["sample_id"].iloc[prepared.plan.steps[0][0]]
    failing_for(monkeypatch, victim, lambda: time.sleep(60))
    dataset = dataset_of(prepared, skip_failed=True)
    with pytest.raises(DataError, match=rf"a sample was not loaded within 2 s: \w+/{victim};"):
        list(StepLoader(dataset, 1, sample_timeout_s=2))


def test_a_step_may_take_longer_than_a_sample(prepared, monkeypatch):
    original = batching.encode

    def encode(*arguments, **options):
        time.sleep(0.4)
        return original(*arguments, **options)

    monkeypatch.setattr(batching, "encode", encode)
    dataset = dataset_of(prepared)
    assert next(iter(StepLoader(dataset, 1, first_step=2, sample_timeout_s=2))).step == 2
    assert dataset.at_work.numbers() == [], "what is done keeps no worker busy"


def test_a_file_that_changed_after_planning_is_an_error(prepared):
    ledger = prepared.plan.ledger
    longer = ledger.assign(text_tokens=ledger["text_tokens"] + 1)
    dataset = StepDataset(replace(prepared.plan, ledger=longer), prepared)
    with pytest.raises(DataError, match="were planned; a media file changed"):
        dataset.encode(0)
