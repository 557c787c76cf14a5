"""Writes goldens/parquet: one small set of drawn images as a folder, and the same as Parquet files
in the forms that Hugging Face's library `datasets`, and others, write them. pyarrow writes them.

Rows are in the order of the folder, so that samples have the same numbers everywhere.
"""

import io
import json
import pathlib
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

OUT = pathlib.Path(__file__).parent / "parquet"
CLASSES = ["blue", "green", "red"]
TRAIN, VALIDATION = 8, 2  # images a class


def draw(label: int, number: int) -> bytes:
    """A PNG or, every third time, a JPEG, of a size of its own: a gradient with a stripe."""
    height, width = 7 + number % 4, 9 + label
    y, x = np.mgrid[:height, :width]
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 2 - label] = 90 + 13 * x + number
    pixels[..., (3 - label) % 3] = 11 * y + 5 * number
    pixels[:, number % width] = 255 - 20 * label
    file = io.BytesIO()
    if number % 3 == 2:
        Image.fromarray(pixels).save(file, "JPEG", quality=80)
    else:
        Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def images(first: int, count: int) -> list[tuple[int, str, bytes]]:
    """Class, name and bytes of each image in the folder's order. One image stands there twice."""
    found = []
    for label in range(len(CLASSES)):
        for number in range(first, first + count):
            data = draw(label, first if number == first + 1 else number)
            kind = "jpg" if data.startswith(b"\xff\xd8") else "png"
            found.append((label, f"{number:02}.{kind}", data))
    return found


def write_folder(split: str, rows: list[tuple[int, str, bytes]]) -> None:
    for label, name, data in rows:
        path = OUT / "folder" / split / CLASSES[label] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def table(rows, image: str, label: str, kind: pa.DataType, plain: bool, described: bool, null: bool):
    """A table as `datasets` has it; `plain` has bytes alone, `null` allows no nulls if false."""
    data = [data for _, _, data in rows]
    if plain:
        column = pa.array(data, pa.binary())
        images = pa.field(image, pa.binary(), nullable=null)
    else:
        struct = pa.struct([pa.field("bytes", pa.binary(), null), pa.field("path", pa.string())])
        # A path may be missing.
        paths = [None if at == 3 else f"{CLASSES[l]}/{name}" for at, (l, name, _) in enumerate(rows)]
        column = pa.array([{"bytes": b, "path": p} for b, p in zip(data, paths)], struct)
        images = pa.field(image, struct, nullable=null)
    labels = pa.array([l for l, _, _ in rows], kind)
    # Other columns stand beside and between.
    fields = [pa.field("id", pa.float64()), images, pa.field("tags", pa.list_(pa.string()))]
    fields.append(pa.field(label, kind, nullable=null))
    other = [pa.array([float(at) for at in range(len(rows))]), pa.array([["a", "b"]] * len(rows))]
    features = {
        "id": {"dtype": "float64", "_type": "Value"},
        image: {"_type": "Image"},
        "tags": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"},
        label: {"names": CLASSES, "_type": "ClassLabel"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if described else None
    schema = pa.schema(fields, metadata=metadata)
    return pa.Table.from_arrays([other[0], column, other[1], labels], schema=schema)


# Of each: folder and names, the columns, how they are written.
FORMS = {
    # As `datasets` does it: images in dictionaries.
    "snappy": dict(
        at="{split}-{n:05}-of-{of:05}.parquet",
        table=dict(image="image", label="label", kind=pa.int64()),
        write=dict(compression="snappy", row_group_size=5),
    ),
    # Many pages of version 2.
    "zstd": dict(
        at="data/{split}-{n:05}-of-{of:05}-0123456789abcdef.parquet",
        table=dict(image="image", label="label", kind=pa.int64()),
        write=dict(
            compression="zstd",
            row_group_size=7,
            data_page_version="2.0",
            use_dictionary=["label"],
            data_page_size=1,
            write_batch_size=2,
        ),
    ),
    # Many pages of version 1, other names of columns, folders of splits.
    "gzip": dict(
        at="{split}/{n:04}.parquet",
        table=dict(image="img", label="fine_label", kind=pa.int32()),
        write=dict(
            compression="gzip",
            row_group_size=9,
            use_dictionary=False,
            data_page_size=1,
            write_batch_size=3,
        ),
    ),
    # Images that lie bare in the file; columns that only the metadata tells.
    "none": dict(
        at="data/{split}-{n:05}-of-{of:05}.parquet",
        table=dict(image="photo", label="what", kind=pa.int8()),
        write=dict(
            compression="none",
            row_group_size=7,
            use_dictionary=["what"],
            data_page_size=1,
            write_batch_size=2,
        ),
    ),
    # The same in dictionaries, in pages of version 2 with checksums, and nothing may be null.
    "none-v2": dict(
        at="{split}-{n:05}-of-{of:05}.parquet",
        table=dict(image="image", label="labels", kind=pa.int64(), null=False),
        write=dict(
            compression="none",
            row_group_size=6,
            data_page_version="2.0",
            write_page_checksum=True,
        ),
    ),
    # Bytes alone, the classes as names, everything in one page with a checksum.
    "binary": dict(
        at="{split}-{n}.parquet",
        table=dict(image="image", label="label", kind=pa.string(), plain=True, described=False),
        write=dict(compression="snappy", use_dictionary=False, write_page_checksum=True),
    ),
}


def write_form(name: str, form: dict, split: str, parts: list) -> None:
    for n, rows in enumerate(parts):
        path = OUT / name / form["at"].format(split=split, n=n, of=len(parts))
        path.parent.mkdir(parents=True, exist_ok=True)
        options = dict(plain=False, described=True, null=True) | form["table"]
        if options["kind"] == pa.string():
            names = [CLASSES[label] for label, _, _ in rows]
            written = table(rows, **(options | dict(kind=pa.int64())))
            at = written.schema.get_field_index("label")
            written = written.set_column(at, "label", pa.array(names))
        else:
            written = table(rows, **options)
        pq.write_table(written, path, **form["write"])


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    train, validation = images(0, TRAIN), images(TRAIN, VALIDATION)
    write_folder("train", train)
    write_folder("val", validation)
    for name, form in FORMS.items():
        write_form(name, form, "train", [train[:13], train[13:]])
        write_form(name, form, "validation" if name != "gzip" else "test", [validation])


if __name__ == "__main__":
    main()
