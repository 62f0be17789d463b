"""How far something is: a bar on a terminal, elsewhere a line in the log every minute."""

from __future__ import annotations

import io
import logging
import math
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)
LINE_EVERY_S = 60.0
# No process is forked while a bar tells something: its thread holds locks of tqdm, logging and the stream meanwhile,
# which nobody would release in the fork.
TELLING = threading.RLock()
os.register_at_fork(before=TELLING.acquire, after_in_parent=TELLING.release, after_in_child=TELLING.release)


class Bar(tqdm):
    """tqdm's bar on a terminal; elsewhere, and where it is not `shown`, a line in the log every minute.

    Lines come, and bars are redrawn, from a thread of their own, so that a step which hangs is not silent. The time
    left follows from all that was counted since the bar was made. What told anything tells of its end too.
    """

    monitor_interval = 0  # the thread below takes the place of tqdm's own
    redraw_every_s = 1.0
    line = "{desc}: {unit} {n_fmt} of {total_fmt}{postfix}, {rate_fmt}, {remaining} left"

    def __init__(self, items: Any = None, *, shown: bool = True, **look: Any) -> None:
        self.on_terminal, self.has_told, self._ended = shown and sys.stderr.isatty(), False, threading.Event()
        if not self.on_terminal:  # tqdm itself writes nothing
            look |= {"file": io.StringIO(), "bar_format": self.line, "delay": 1, "mininterval": math.inf}
        super().__init__(items, leave=False, dynamic_ncols=self.on_terminal, smoothing=0, **look)
        threading.Thread(target=self._keep_telling, daemon=True).start()

    def __iter__(self) -> Iterator[Any]:
        with self:
            for item in self.iterable:
                yield item
                self.update()

    def tell(self) -> None:
        """Write a line, unless a bar shows it."""
        if not self.on_terminal:
            self.has_told = True
            log.info("%s", str(self))  # as it stands now

    def close(self) -> None:
        """End it."""
        with TELLING:
            if self.has_told and not self._ended.is_set():
                self.tell()
            self._ended.set()
            super().close()

    def _keep_telling(self) -> None:
        while not self._ended.wait(self.redraw_every_s if self.on_terminal else LINE_EVERY_S):
            with TELLING:
                if not self._ended.is_set():
                    self.refresh() if self.on_terminal else self.tell()


def print_above(line: str) -> None:
    """Print a line where no bar is drawn over it."""
    with tqdm.external_write_mode():
        print(line, flush=True)
