"""Ways to carry out the jobs of a multirun: one after the other, several at once, or on SLURM."""

from __future__ import annotations

from hydra.core.plugins import Plugins

from sparrow.app.launching.parallel import ParallelLauncher
from sparrow.app.launching.sequential import SequentialLauncher
from sparrow.app.launching.slurm import SlurmLauncher


def register_launchers() -> None:
    """Make the launchers known to Hydra.

    Hydra finds plugins by walking the folders of the name space `hydra_plugins`, which an editable install does not
    have, and takes them from that name space only.
    """
    plugins = Plugins.instance()
    for launcher in (SequentialLauncher, ParallelLauncher, SlurmLauncher):
        plugins.register(launcher)
        plugins.class_name_to_class[f"hydra_plugins.sparrow.{launcher.__name__}"] = launcher
