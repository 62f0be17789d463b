"""How far a sweep is, over all its jobs."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

from sparrow.app.launching.multirun import Job, say
from sparrow.core.bars import Bar, print_above
from sparrow.core.files import content_of
from sparrow.runs.record import FILE_NAME

LEAST_SHARE = 0.05  # of a job, before which it says nothing about the time left


class SweepBar(Bar):
    """The jobs of a batch as one bar; one that is at work counts by the steps that its `run.json` tells of."""

    redraw_every_s = 10.0  # each time it reads files
    line = "{desc}, {remaining} left"

    def __init__(self, jobs: Sequence[Job], ended: Collection[int] = (), *, one_by_one: bool = False) -> None:
        """Over jobs of which some, by number, have `ended` before the bar begins."""
        self._open = {job.number: job.folder / FILE_NAME for job in jobs if job.number not in ended}
        # What a restarting job finds in its folder is archived when it begins.
        self._archived = {job.folder / FILE_NAME: content_of(job.folder / FILE_NAME) for job in jobs if job.restarts}
        self._one_by_one = one_by_one
        done = len(ended) + sum(map(self._share, self._open.values()))
        super().__init__(total=len(jobs), initial=done, bar_format=f"{self.line} |{{bar}}|{{percentage:3.0f}} %")

    def tell_of(self, job: Job, how: str, *, ended: bool = False) -> None:
        """Print what became of a job, and draw the bar anew."""
        if ended:
            del self._open[job.number]
        say(job, how if self.on_terminal else f"{how}; {self}")
        if self.on_terminal:
            self.refresh()

    def tell(self) -> None:
        """Print a line, since the log is that of the jobs."""
        if not self.on_terminal:
            print_above(str(self))

    def __str__(self) -> str:
        shares = [self._share(record) for record in self._open.values()]
        done = self.total - len(shares) + sum(share == 1 for share in shares)
        self.n = self.total - len(shares) + sum(shares)
        at = f"job {min(done + 1, self.total)} of {self.total}"
        self.desc = at if self._one_by_one else f"{done} of {self.total} jobs done"
        return str(super().__str__())

    def _share(self, record: Path) -> float:
        content = content_of(record)
        if content is None or content == self._archived.get(record):
            return 0.0
        try:
            run = json.loads(content)
        except ValueError:
            return 0.0  # said by whoever reads the run
        share = 1.0 if run.get("status") == "finished" else run.get("num_steps_done", 0) / (run.get("num_steps") or 1)
        return share if share > LEAST_SHARE else 0.0
