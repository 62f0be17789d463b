"""Peak FLOP/s of devices, utilisation, times of phases, and sums that go on after a resume."""

import time
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from sparrow.training.mfu import device_peak_flops, mfu, peak_flops
from sparrow.training.throughput import StepCounts, StepTimer, Throughput


@pytest.mark.parametrize(
    ("device", "precision", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16-mixed", 989),
        ("NVIDIA H100 PCIe", "bf16-true", 756),
        ("NVIDIA H200", "32-true", 67),
        ("NVIDIA H20", "bf16-mixed", 148),
        ("NVIDIA A100-SXM4-80GB", "bf16-mixed", 312),
        ("NVIDIA A100-SXM4-80GB", "32-true", 19.5),
        ("NVIDIA L40S", "bf16-mixed", 362),
        ("NVIDIA L40", "bf16-mixed", 181),
        ("NVIDIA L4", "bf16-mixed", 121),
        ("Tesla T4", "bf16-mixed", None),
        ("GeForce 256", "32-true", None),
    ],
)
def test_peaks_are_found_by_the_devices_name(device, precision, teraflops):
    assert peak_flops(device, precision) == (None if teraflops is None else teraflops * 1e12)


def test_a_given_peak_wins_and_a_cpu_has_none():
    cpu = torch.device("cpu")
    assert device_peak_flops(cpu, "32-true", 2e12) == 2e12
    assert device_peak_flops(cpu, "32-true") is None


def test_utilisation_is_work_over_what_all_devices_could_do():
    assert mfu(6e12, seconds=2.0, num_devices=3, peak=2e12) == pytest.approx(0.5)
    assert mfu(0.0, 2.0, 3, 2e12) is None
    assert mfu(6e12, 2.0, 3, None) is None


def test_phases_add_up_over_micro_batches():
    timer = StepTimer(torch.device("cpu"), exact=True)
    for _ in range(2):
        with timer.phase("forward"):
            time.sleep(0.02)
    seconds = timer.finish()
    assert 0.04 <= seconds["forward"] <= seconds["work"]
    assert seconds["backward"] == 0


class Module:
    """What `Throughput` reads of the module, and what it logs to it."""

    step_counts = StepCounts(8, 1000, 600, 50, 1250, 3e12, wait_s=1.0)
    step_times_s: ClassVar = {"forward": 0.2, "work": 0.5}

    def __init__(self):
        self.logged = {}

    def log(self, name, value, **_):
        self.logged[name] = value

    def log_dict(self, figures):
        self.logged |= figures


def trainer(log_every_n_steps=1):
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    return SimpleNamespace(world_size=2, log_every_n_steps=log_every_n_steps, strategy=strategy)


def test_a_step_is_logged_with_its_rates_and_shares():
    module, throughput = Module(), Throughput("bf16-mixed", peak_flops=4e12)
    throughput.on_train_batch_end(trainer(), module, None, SimpleNamespace(step=0), 0)
    expected = {
        "throughput/samples_per_s": 8,  # half a second of waiting (the mean of two ranks) and half a second of work
        "throughput/tokens_per_s": 1000,
        "throughput/visual_tokens_per_s": 600,
        "throughput/text_tokens_per_s": 400,
        "throughput/supervised_tokens_per_s": 50,
        "throughput/mfu": 3e12 / (2 * 4e12),
        "data/packing_efficiency": 0.8,
        "time/step_s": 1.0,
        "time/data_wait_s": 0.5,
        "time/data_wait_share": 0.5,
        "time/forward_s": 0.2,
        "throughput/gpu_hours": 0.0,
    }
    assert {name: module.logged[name] for name in expected} == pytest.approx(expected)
    assert module.logged["memory/peak_host_gib"] > 0


def test_only_logging_steps_are_logged_but_all_are_added_up():
    module, throughput = Module(), Throughput()
    for step in range(3):
        throughput.on_train_batch_end(trainer(log_every_n_steps=5), module, None, SimpleNamespace(step=step), step)
    assert "time/step_s" not in module.logged
    assert throughput.counts.samples == 24


def test_sums_go_on_after_a_resume():
    first, second = Throughput(peak_flops=4e12), Throughput(peak_flops=4e12)
    first.on_train_batch_end(trainer(), Module(), None, SimpleNamespace(step=0), 0)
    second.load_state_dict(first.state_dict())
    second.on_train_batch_end(trainer(), Module(), None, SimpleNamespace(step=1), 1)
    summary = second.summary(trainer())
    assert second.counts.samples == 16
    assert (summary["samples_per_s"], summary["data_wait_share"], summary["packing_efficiency"]) == (8, 0.5, 0.8)
    assert summary["mfu"] == pytest.approx(0.375)
    assert Throughput().summary(trainer()) == {}
