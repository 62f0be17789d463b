"""A SLURM of one node with accounting, installed and started for the tests of this folder."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools/local_slurm.sh"
NUM_PORTS = 100


def free_ports():
    """The first of a hundred ports in a row, none of which is taken."""
    for first in range(17400, 30000, NUM_PORTS):
        try:
            for port in range(first, first + 4):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


def install():
    """Install what is missing, or skip with the reason."""
    path = os.environ["PATH"] + ":/usr/sbin"
    if all(shutil.which(program, path=path) for program in ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd")):
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        pytest.skip("SLURM is not installed, and its Debian packages need apt-get and root")
    done = subprocess.run([SCRIPT, "install"], capture_output=True, text=True, check=False, timeout=400)
    if done.returncode != 0:
        pytest.skip(f"SLURM's Debian packages could not be installed: {done.stderr.strip()[-300:]}")


@pytest.fixture(scope="session")
def slurm():
    """Environment of a client of the cluster."""
    install()
    parent = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    parent.chmod(0o755)
    folder = parent / "s"
    environment = os.environ | {"LOCAL_SLURM_PORT": str(free_ports()), "LOCAL_SLURM_CPUS": "8"}
    log = parent / "start.log"
    try:
        with open(log, "w") as file:
            # Into a file: the daemons would hold a pipe open.
            command = [SCRIPT, "start", folder]
            done = subprocess.run(command, check=False, stdout=file, stderr=file, env=environment, timeout=240)
        assert done.returncode == 0, log.read_text()[-3000:]
        yield {"SLURM_CONF": str(folder / "slurm.conf")}
    finally:
        subprocess.run([SCRIPT, "stop", folder], check=False, timeout=120, capture_output=True)
        shutil.rmtree(parent, ignore_errors=True)
