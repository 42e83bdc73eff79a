"""A CIFAR-10 archive of the genuine form with a few hundred images."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from tamiyo_trl.data import cifar10

PER_BATCH, TEST_IMAGES = 60, 50
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, which is how the genuine files were made."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_string(self, text: bytes) -> None:
        short = len(text) < 256
        self.write(
            pickle.SHORT_BINSTRING + bytes([len(text)]) if short else pickle.BINSTRING + struct.pack("<i", len(text))
        )
        self.write(text)
        self.memoize(text)

    dispatch[bytes] = save_string


def dumps(content: object) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(content)
    return stream.getvalue()


def batch(name: str, first: int, count: int) -> bytes:
    """A batch file of the genuine form: a pickled dict with rows of 3072 bytes, red then green then blue."""
    rng = np.random.default_rng(first)
    data = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
    # The first two bytes of an image tell its number, so that splits can be checked.
    numbers = np.arange(first, first + count)
    data[:, 0], data[:, 1] = numbers // 256, numbers % 256
    labels = [int(number % 10) for number in numbers]
    content = {b"batch_label": name.encode(), b"labels": labels, b"data": data, b"filenames": [b"x.png"] * count}
    return dumps(content)


def files() -> dict[str, bytes]:
    made = {f"data_batch_{k}": batch(f"training batch {k} of 5", (k - 1) * PER_BATCH, PER_BATCH) for k in range(1, 6)}
    made["test_batch"] = batch("testing batch 1 of 1", 5 * PER_BATCH, TEST_IMAGES)
    made["batches.meta"] = dumps({b"label_names": [name.encode() for name in NAMES], b"num_vis": 3072})
    return made


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def archive(content: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, body in content.items():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return gzip.compress(stream.getvalue(), mtime=0)  # without the time, the same bytes at every call


def expect_archive(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Make the files, and torchvision expect exactly their checksums."""
    content, dataset = files(), cifar10.CIFAR10
    for name in ("train_list", "test_list"):
        monkeypatch.setattr(dataset, name, [[file, md5(content[file])] for file, _ in getattr(dataset, name)])
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": md5(content["batches.meta"])})
    monkeypatch.setattr(dataset, "tgz_md5", md5(archive(content)))
    cifar10.load_splits.cache_clear()
    return content


def unpack(content: dict[str, bytes], root: Path) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    for name, body in content.items():
        (folder / name).write_bytes(body)
    return folder
