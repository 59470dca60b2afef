"""Writes the Parquet files of the datasets crate's tests, and their rows as JSON Lines.

    python scripts/golden_parquet.py crates/datasets/tests/golden
"""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"What is {n} + ½? 日本"},
            {"role": "assistant", "content": None if n == 2 else f"{n}.5"},
        ][: n % 3],
        "answer": n,
        "score": n / 4,
        "is_right": None if n == 1 else n % 2 == 0,
        "tags": None if n == 3 else [["a", "b"], [], [None]][: n % 4],
        "source": {"name": "sums", "pages": [n, None]} if n % 2 else None,
        "nothing": None,
    }
    for n in range(7)
]
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.large_string())]))
SCHEMA = pa.schema([
    ("messages", MESSAGES),
    ("answer", pa.int64()),
    ("score", pa.float64()),
    ("is_right", pa.bool_()),
    ("tags", pa.list_(pa.list_(pa.string()))),
    ("source", pa.struct([("name", pa.string()), ("pages", pa.list_(pa.int32()))])),
    ("nothing", pa.null()),
])

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
table = pa.Table.from_pylist(ROWS, SCHEMA)
pq.write_table(table, folder / "snappy.parquet", compression="snappy", row_group_size=3)
pq.write_table(table, folder / "zstd.parquet", compression="zstd", data_page_version="2.0")
pq.write_table(table, folder / "plain.parquet", compression="none", use_dictionary=False)
pq.write_table(table, folder / "gzip.parquet", compression="gzip")
pq.write_table(table.slice(0, 0), folder / "empty.parquet")
# Eight pages of 32 MiB in 9 kB.
pages = pa.table({f"text{i}": ["a" * (1 << 25)] for i in range(8)})
pq.write_table(
    pages, folder / "large_pages.parquet", compression="zstd", compression_level=19,
    use_dictionary=False, write_statistics=False, store_schema=False,
)
lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist()]
(folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
