"""Compares the memory and time of reading a large JSON source with `json.load`, as the released code does.

Usage: python benchmarks/ingest.py [--records 200000] [--folder FOLDER]

Every reading runs in a process of its own, on one core. Seconds leave out the imports, which a program makes once; of
those of the processor the least of `--rounds` turns counts. Memory is the peak resident size, imports included.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MEASURED = """
import resource, sys, time
{imports}
start, start_cpu = time.perf_counter(), time.process_time()
{code}
seconds, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
print(count, seconds, cpu_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)
"""
JSON_LOAD = (
    "import json",
    """
with open(sys.argv[1], encoding="utf-8") as file:
    records = json.load(file)
count = len(records)
""",
)
LOAD_SOURCE = (
    "import datasets; from pathlib import Path; from sparrow.data.settings import Source; "
    "from sparrow.data.sources import load_source",
    """
path = Path(sys.argv[1])
source = Source(converter="llava", files=[path.name], root=str(path.parent))
data = load_source("bench", source, cache_root=path.parent / "cache")
first, last, count = data[0], data[len(data) - 1], len(data)
""",
)


PROGRAMS = {"json.load": JSON_LOAD, "load_source, first": LOAD_SOURCE, "load_source, again": LOAD_SOURCE}


def write_records(path: Path, num_records: int) -> None:
    """LLaVA-style records of about 2.6 KB in one indented array, with the typographic marks that captions have.

    One such mark makes Python hold the whole text of the file at two bytes a character.
    """
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 10))) for _ in range(5_000)]
    with open(path, "w", encoding="utf-8") as file:
        for number in range(num_records):
            turns = [
                {"from": "human", "value": "<video>\n" + " ".join(rng.choices(words, k=20)) + "?"},
                {"from": "gpt", "value": " ".join(rng.choices(words, k=330)) + " – it’s over."},
            ]
            record = {"id": f"record-{number}", "video": f"clips/{number}.mp4", "conversations": turns}
            file.write(("[" if number == 0 else ",") + "\n" + json.dumps(record, indent=1, ensure_ascii=False))
        file.write("\n]\n")


def measure(program: tuple[str, str], path: Path) -> tuple[int, float, float, float]:
    """Records, seconds, processor seconds and peak MB of one reading."""
    code = MEASURED.format(imports=program[0], code=program[1])
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    count, *figures = done.stdout.split()
    seconds, cpu_s, megabytes = map(float, figures)
    return int(count), seconds, cpu_s, megabytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="where the file is made for the time being")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "records.json"
        write_records(path, arguments.records)
        print(f"{arguments.records:,} records, {path.stat().st_size / 1e6:.0f} MB of JSON")
        found: dict[str, list[tuple[int, float, float, float]]] = {}
        for _ in range(arguments.rounds):
            shutil.rmtree(path.parent / "cache", ignore_errors=True)
            for label, program in PROGRAMS.items():
                found.setdefault(label, []).append(measure(program, path))
        print(f"{'':24}{'seconds':>10}{'CPU s':>10}{'peak MB':>10}{'of the CPU s':>14}{'of the MB':>11}")
        least = {label: [min(column) for column in zip(*turns, strict=True)] for label, turns in found.items()}
        _, _, base_cpu_s, base_megabytes = least["json.load"]
        for label, (count, seconds, cpu_s, megabytes) in least.items():
            assert count == arguments.records
            ratios = f"{cpu_s / base_cpu_s:14.2f}{megabytes / base_megabytes:11.3f}"
            print(f"{label:24}{seconds:10.2f}{cpu_s:10.2f}{megabytes:10.0f}{ratios}")


if __name__ == "__main__":
    main()
