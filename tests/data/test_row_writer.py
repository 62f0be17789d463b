import pyarrow as pa

from sparrow.core.samples import Image, LongText, Message, Sample, Text, Video
from sparrow.data.row_writer import RowWriter, rows_of


def test_rows_give_the_samples_back(tmp_path):
    parts = (Video("a.mp4", 1.5, 3.0), Video("frames", fps=2.0), Image("b.png"), LongText("long"), Text("What?"))
    asked = (Message("system", (Text("Watch."),)), Message("user", parts))
    samples = [
        Sample(str(i), "clips", (*asked, Message("assistant", (Text(f"A dog – {i}."),), supervised=i > 0)))
        for i in range(2)
    ]
    with RowWriter(tmp_path / "rows.arrow") as writer:
        for sample in samples:
            writer.write(rows_of(sample))
    rows = pa.ipc.open_stream((tmp_path / "rows.arrow").read_bytes()).read_all().to_pylist()
    read = [Sample.from_row({"id": str(i), "source": "clips", **row}) for i, row in enumerate(rows)]
    assert read == samples
