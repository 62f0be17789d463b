"""`sparrow train` on two ranks, of which rank 1 fails after its first answer, and rank 0 waits for that answer."""

import os
import time

from sparrow.cli import main
from sparrow.evaluation.predictions import PredictionWriter

original = PredictionWriter.write


def write(self, *predictions):
    """Write, then fail or wait."""
    original(self, *predictions)
    if os.environ.get("LOCAL_RANK") == "1":
        raise RuntimeError("no more answers")
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in self._path.parent.glob("*.partial-1.jsonl")):
        assert time.monotonic() < deadline, "rank 1 answers nothing"
        time.sleep(0.05)


if __name__ == "__main__":
    PredictionWriter.write = write
    main()
