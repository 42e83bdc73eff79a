"""CIFAR-10 through torchvision: 45,000 images to train on, 5,000 to validate, the 10,000 of its test set.

An episode's pool, validation and test images are drawn by its seed, without replacement, from their own split. Training
images are padded, cropped at random and mirrored once, when the pool is drawn: an episode passes over its pool a few
times only, and its pool is a small random share of the split, so that other crops at each pass would change little.
"""

from __future__ import annotations

import pickle
import shlex
import tarfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tamiyo_trl.data.corruption import distort, noisy_labels, pool_rows
from tamiyo_trl.data.images import Corruption, EpisodeImages, SplitSizes
from tamiyo_trl.data.source import DataSource
from tamiyo_trl.data.torchvision_shim import import_torchvision
from tamiyo_trl.errors import ConfigError, DataError
from tamiyo_trl.seeding import generator

import_torchvision()

from torchvision.datasets import CIFAR10  # noqa: E402 - the import above comes first
from torchvision.datasets.utils import calculate_md5  # noqa: E402
from torchvision.transforms.v2 import functional as F  # noqa: E402

SPLIT_SEED = 20261123
VAL_SHARE = 0.1  # of the 50,000 images of the training set
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of the training set, per channel
IMAGE_SIZES = (16, 32)
ARRAYS = {(f"{module}.multiarray", "_reconstruct") for module in ("numpy.core", "numpy._core")} | {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}  # all that the batch files name
PADDING_SHARE = 8  # a crop moves by up to size / 8 pixels each way: 4 at 32

Split = tuple[Tensor, Tensor]


class Cifar10Task:
    """Draws an episode's images from CIFAR-10, at its own 32x32 or averaged down to 16x16.

    Raises:
        ConfigError: there is no such image size.
        DataError: the archive is missing, damaged or could not be fetched.
    """

    channels, classes = 3, 10
    image_sizes = IMAGE_SIZES

    def __init__(self, image_size: int = 32, source: DataSource = DataSource()) -> None:  # noqa: B008 - frozen
        if image_size not in IMAGE_SIZES:
            raise ConfigError(f"the cifar10 task has image sizes {list(IMAGE_SIZES)}, got {image_size}")
        self.image_size = image_size
        self._splits = load_splits(find(source), image_size)

    def draw(self, seed: int, sizes: SplitSizes, corruption: Corruption) -> EpisodeImages:
        """Return the images of the episode with this seed.

        Raises:
            ConfigError: more images are asked for than a split holds.
        """
        pool = min(corruption.pool_size or sizes.train, sizes.train)
        parts: dict[str, Tensor] = {}
        counts = {"train": pool, "val": sizes.val, "test": sizes.test, "reward": sizes.reward}
        for name, (images, labels), skipped in self._sources(sizes):
            count = counts[name]
            if skipped + count > len(labels):
                raise ConfigError(
                    f"the {name} split of cifar10 holds {len(labels) - skipped} images, got a size of {count}"
                )
            rng = generator(seed, "images", "val" if name == "reward" else name)
            chosen = torch.randperm(len(labels), generator=rng)[skipped : skipped + count]
            x, y = images[chosen].float() / 255, labels[chosen]
            if name == "train":
                x, y = augment(x, rng), noisy_labels(y, corruption.label_noise, self.classes, rng)
            x = distort(F.normalize(x, list(MEAN), list(STD)), corruption, (0.0, 0.0), rng)
            if name == "train":
                rows = pool_rows(pool, sizes.train)
                x, y = x[rows], y[rows]
            parts |= {f"{name}_images": x, f"{name}_labels": y}
        return EpisodeImages(**parts, pool=pool)

    def _sources(self, sizes: SplitSizes) -> tuple[tuple[str, Split, int], ...]:
        """Each split's name, where its images come from, and how many of an episode's order are another split's."""
        train, val, test = self._splits
        return ("train", train, 0), ("val", val, 0), ("test", test, 0), ("reward", val, sizes.val)


def augment(images: Tensor, rng: torch.Generator) -> Tensor:
    """Return each image [n, C, H, W] in 0..1 cropped at random from its zero-padded self, half of them mirrored.

    torchvision's random transforms would move a whole batch alike; here all images of one offset are cropped together.
    """
    size = images.shape[-1]
    reach = size // PADDING_SHARE
    padded = F.pad(images, [reach])
    places = 2 * reach + 1
    place = torch.randint(places * places, (len(images),), generator=rng)
    mirrored = torch.rand(len(images), generator=rng) < 0.5
    cropped = torch.empty_like(images)
    for index in place.unique().tolist():
        here = place == index
        cropped[here] = F.crop(padded[here], index // places, index % places, size, size)
    return torch.where(mirrored[:, None, None, None], F.horizontal_flip(cropped), cropped)


@lru_cache(maxsize=2)
def load_splits(root: Path, image_size: int) -> tuple[Split, Split, Split]:
    """Return images, uint8 [n, 3, H, W], and labels, int64 [n], of the training, validation and test split.

    Raises:
        DataError: the files under `root` do not hold images and labels of CIFAR-10's form.
    """
    (images, labels), test = (_load(root, train, image_size) for train in (True, False))
    order = torch.randperm(len(labels), generator=generator(SPLIT_SEED, "cifar10"))
    held_out = round(VAL_SHARE * len(labels))
    train, val = order[held_out:], order[:held_out]
    return (images[train], labels[train]), (images[val], labels[val]), test


class _Batch(pickle.Unpickler):
    """Reads a batch file, a dict with an array, and refuses every other object a pickle may name."""

    def find_class(self, module: str, name: str) -> object:
        """Return what builds an array."""
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no batch holds")
        return super().find_class(module, name)

    @classmethod
    def read(cls, path: Path) -> dict[str, Any]:
        """Return the content of a batch file."""
        with path.open("rb") as file:
            return cls(file, encoding="latin1").load()


def _load(root: Path, train: bool, image_size: int) -> Split:
    try:
        names = CIFAR10.train_list if train else CIFAR10.test_list
        batches = [_Batch.read(root / CIFAR10.base_folder / name) for name, _ in names]
        images = torch.from_numpy(np.concatenate([batch["data"] for batch in batches])).reshape(-1, 3, 32, 32)
        labels = torch.tensor([label for batch in batches for label in batch["labels"]], dtype=torch.long)
    except (pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{root / CIFAR10.base_folder} is not of CIFAR-10's form ({error}); {_advice(root)}") from error
    if len(images) != len(labels) or not len(labels) or int(labels.min()) < 0 or int(labels.max()) > 9:
        raise DataError(
            f"{root / CIFAR10.base_folder} holds {len(images)} images and {len(labels)} labels; {_advice(root)}"
        )
    if image_size != images.shape[-1]:
        images = F.resize(images, [image_size, image_size], antialias=True)
    return images, labels


def find(source: DataSource) -> Path:
    """Return the folder that holds a whole CIFAR-10; unpack its archive, or download it where that is asked for.

    Raises:
        DataError: it is not there, it is damaged, or it could not be fetched.
    """
    root = Path(source.root).expanduser().absolute()
    fault = _fault(root)
    if fault and source.download:
        _download(root)
        fault = _fault(root)
    if fault:
        raise DataError(f"{fault}; {_advice(root)}")
    return root


def _fault(root: Path) -> str:
    """Say what is wrong with the CIFAR-10 under `root`, "" for nothing; an archive that is whole is unpacked."""
    folder, archive = root / CIFAR10.base_folder, root / CIFAR10.filename
    if not folder.is_dir() and archive.is_file():
        found = calculate_md5(archive)
        if found != CIFAR10.tgz_md5:
            return f"{archive} is damaged or truncated: its md5 is {found}, not {CIFAR10.tgz_md5}"
        try:
            with tarfile.open(archive) as tar:
                tar.extractall(root, filter="data")  # nothing outside of root, no devices, no foreign owners
        except (tarfile.TarError, EOFError, OSError) as error:
            return f"{archive} cannot be unpacked ({error})"
    if not folder.is_dir():
        return f"CIFAR-10 is not at {folder}, nor its archive at {archive}"
    for name, md5 in [*CIFAR10.train_list, *CIFAR10.test_list, [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]]:
        if not (folder / name).is_file():
            return f"CIFAR-10 at {folder} has no {name}"
        found = calculate_md5(folder / name)
        if found != md5:
            return f"CIFAR-10 at {folder} is damaged: {name} has md5 {found}, not {md5}"
    return ""


def _download(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        CIFAR10(str(root), download=True)
    except (OSError, RuntimeError) as error:  # no network, no such host, a broken transfer
        raise DataError(f"CIFAR-10 could not be downloaded to {root} ({error}); {_advice(root)}") from error


def _advice(root: Path) -> str:
    """Return the command that fetches the data set anew, as the end of an error message."""
    place, old = shlex.quote(str(root)), shlex.quote(str(root / CIFAR10.base_folder))
    return f"to fetch it: mkdir -p {place} && rm -rf {old} && curl -fL {CIFAR10.url} | tar -xz -C {place}"
