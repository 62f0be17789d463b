"""Compares the memory and time of reading a large JSON source with `json.load`, as the released code does.

Usage: python benchmarks/ingest.py [--records 200000] [--folder FOLDER]

Every reading runs in a process of its own. Seconds leave out the imports, which a program makes once; memory is the
peak resident size of the process, imports included.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

MEASURED = """
import resource, sys, time
{imports}
start = time.perf_counter()
{code}
seconds = time.perf_counter() - start
print(count, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)
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


def measure(program: tuple[str, str], path: Path) -> tuple[int, float, float]:
    """Records, seconds and peak MB of one reading."""
    code = MEASURED.format(imports=program[0], code=program[1])
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    count, seconds, megabytes = done.stdout.split()
    return int(count), float(seconds), float(megabytes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, default=None, help="where the file is made for the time being")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "records.json"
        write_records(path, arguments.records)
        print(f"{arguments.records:,} records, {path.stat().st_size / 1e6:.0f} MB of JSON")
        print(f"{'':24}{'seconds':>10}{'peak MB':>10}")
        rows = {
            "json.load": measure(JSON_LOAD, path),
            "load_source, first": measure(LOAD_SOURCE, path),
            "load_source, again": measure(LOAD_SOURCE, path),
        }
        for label, (count, seconds, megabytes) in rows.items():
            assert count == arguments.records
            print(f"{label:24}{seconds:10.2f}{megabytes:10.0f}")
        _, seconds, megabytes = rows["json.load"]
        first, again = rows["load_source, first"], rows["load_source, again"]
        print(
            f"first against json.load: {first[2] / megabytes:.3f} of its memory, {first[1] / seconds:.2f} of its time"
        )
        print(
            f"again against json.load: {again[2] / megabytes:.3f} of its memory, {again[1] / seconds:.3f} of its time"
        )


if __name__ == "__main__":
    main()
