"""Ways to carry out the jobs of a multirun: one after the other, several at once, or on SLURM."""

from __future__ import annotations

from dataclasses import replace

from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from sparrow.app.launching.parallel import ParallelLauncher
from sparrow.app.launching.sequential import SequentialLauncher
from sparrow.app.launching.slurm import SlurmLauncher


def register_launchers() -> None:
    """Make the launchers known to Hydra, and no others: jobs of a plugin's would not know their folders.

    Hydra finds plugins by walking the folders of the name space `hydra_plugins`, which an editable install does not
    have, and takes them from that name space only. An `override` in train.yaml would win over that of an experiment.
    """
    plugins, store = Plugins.instance(), ConfigStore.instance()
    store.repo["hydra"]["launcher"] = {}
    defaults = [{"launcher": "sequential"} if "launcher" in entry else entry for entry in HydraConf().defaults]
    store.store(group="hydra", name="config", node=replace(HydraConf(), defaults=defaults), provider="sparrow")
    for launcher in (SequentialLauncher, ParallelLauncher, SlurmLauncher):
        plugins.register(launcher)
        plugins.class_name_to_class[f"hydra_plugins.sparrow.{launcher.__name__}"] = launcher
