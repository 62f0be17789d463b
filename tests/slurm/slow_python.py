"""Python as a job starts it, with training steps that take their time however fast the machine is."""

import runpy
import sys
import time

from sparrow.training.module import FineTuning

STEP_S = 0.2
carry_out = FineTuning.training_step


def slow_step(self, batch, batch_idx):
    time.sleep(STEP_S)
    return carry_out(self, batch, batch_idx)


FineTuning.training_step = slow_step
assert sys.argv[1:3] == ["-u", "-m"]
_, _, _, module, *sys.argv[1:] = sys.argv
runpy.run_module(module, run_name="__main__", alter_sys=True)
