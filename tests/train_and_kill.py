"""`sparrow train`, in which the rank KILLED_RANK gets the signal KILLED_BY in its third step; SIGTERM: in its second."""

import os
import signal

from sparrow.cli import main
from sparrow.training.module import FineTuning

number = signal.Signals[os.environ.get("KILLED_BY", "SIGKILL")]
victim_step = 2 if number == signal.SIGKILL else 1
original = FineTuning.training_step


def training_step(self, batch, batch_idx):
    """Send the signal to this process, if it is the one, then train."""
    if batch.step == victim_step and self.trainer.global_rank == int(os.environ["KILLED_RANK"]):
        os.kill(os.getpid(), number)
    return original(self, batch, batch_idx)


if __name__ == "__main__":
    FineTuning.training_step = training_step
    main()
