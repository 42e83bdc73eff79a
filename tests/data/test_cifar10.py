"""CIFAR-10 is read from an archive of the genuine form, split by source image; what is damaged is refused by name."""

from __future__ import annotations

import http.server
import importlib
import pickle
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Thread

import pytest
import torch

from tamiyo_trl.data import Corruption, DataSource, SplitSizes
from tamiyo_trl.data import cifar10 as module
from tamiyo_trl.data.tasks import make_task
from tamiyo_trl.data.torchvision_shim import declare_operators, import_torchvision
from tamiyo_trl.errors import ConfigError, DataError
from tests.data.archives import archive, expect_archive, md5, unpack

SIZES = SplitSizes(train=128, val=24, test=48, reward=6)


@pytest.fixture
def made(monkeypatch) -> dict[str, bytes]:
    """The files, with torchvision expecting exactly their checksums."""
    return expect_archive(monkeypatch)


def numbers(images: torch.Tensor) -> set[int]:
    """The number written into the first two bytes of each raw image."""
    return set((images[:, 0, 0, 0].long() * 256 + images[:, 0, 0, 1]).tolist())


def test_splits_are_disjoint_and_sized_as_usual(made, tmp_path):
    unpack(made, tmp_path)
    train, val, test = module.load_splits(module.find(DataSource(str(tmp_path))), 32)
    assert [len(labels) for _, labels in (train, val, test)] == [270, 30, 50]  # 9 : 1 of 300, and the test batch
    found = [numbers(images) for images, _ in (train, val, test)]
    assert found[2] == set(range(300, 350))
    assert found[0] | found[1] == set(range(300))
    assert not found[0] & found[1]
    for images, labels in (train, val, test):
        assert torch.equal(labels, (images[:, 0, 0, 0].long() * 256 + images[:, 0, 0, 1]) % 10)


def test_the_whole_data_set_splits_into_45000_5000_and_10000(monkeypatch, tmp_path):
    def blank(root, train, image_size):
        count = 50_000 if train else 10_000
        return torch.zeros(count, 3, 1, 1, dtype=torch.uint8), torch.arange(count)

    monkeypatch.setattr(module, "_load", blank)
    splits = module.load_splits.__wrapped__(tmp_path, 32)
    assert [len(labels) for _, labels in splits] == [45_000, 5_000, 10_000]
    (_, train), (_, val), _ = splits
    assert torch.equal(torch.cat([train, val]).sort().values, torch.arange(50_000))


def test_pixels_and_labels_are_those_of_the_file(made, tmp_path):
    unpack(made, tmp_path)
    task = make_task("cifar10", 32, DataSource(str(tmp_path)))
    drawn = task.draw(1, SIZES, Corruption())
    raw = pickle.loads(made["test_batch"], encoding="bytes")
    images = torch.from_numpy(raw[b"data"]).reshape(-1, 3, 32, 32).float() / 255
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2470, 0.2435, 0.2616])
    plain = (images - mean[:, None, None]) / std[:, None, None]
    distance = (drawn.test_images[:, None] - plain[None]).abs().amax((2, 3, 4))
    assert (distance.min(1).values < 1e-5).all()
    chosen = distance.argmin(1)
    assert len(chosen.unique()) == SIZES.test  # without replacement
    assert torch.equal(drawn.test_labels, torch.tensor(raw[b"labels"])[chosen])


def test_an_episodes_images_are_a_function_of_its_seed(made, tmp_path):
    unpack(made, tmp_path)
    task = make_task("cifar10", 32, DataSource(str(tmp_path)))
    torch.manual_seed(0)
    first = task.draw(5, SIZES, Corruption(label_noise=0.3))
    torch.manual_seed(1)
    second, other = task.draw(5, SIZES, Corruption(label_noise=0.3)), task.draw(6, SIZES, Corruption())
    for name in ("train_images", "train_labels", "val_images", "test_images"):
        assert torch.equal(getattr(first, name), getattr(second, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))


def test_training_images_are_cropped_and_mirrored_one_by_one_and_no_others_are():
    images = torch.arange(400 * 3 * 16 * 16, dtype=torch.float32).reshape(400, 3, 16, 16)
    moved = module.augment(images, torch.Generator().manual_seed(0))
    reach, hits = 2, []  # 16 // 8
    padded = torch.nn.functional.pad(images, [reach] * 4)
    for top in range(5):
        for left in range(5):
            crop = padded[:, :, top : top + 16, left : left + 16]
            for mirrored, view in ((False, crop), (True, crop.flip(-1))):
                hits.append(((moved == view).flatten(1).all(1), top, left, mirrored))
    matched = torch.stack([hit for hit, *_ in hits])
    assert (matched.sum(0) == 1).all()  # each image is exactly one crop of itself
    shares = matched.float().mean(1)
    assert (shares > 0).all()  # all 50 ways occur
    flipped = sum(float(hit.float().mean()) for hit, _, _, mirrored in hits if mirrored)
    assert flipped == pytest.approx(0.5, abs=0.1)


def test_a_small_size_is_averaged_down(made, tmp_path):
    unpack(made, tmp_path)
    task = make_task("cifar10", 16, DataSource(str(tmp_path)))
    drawn = task.draw(1, SIZES, Corruption())
    assert drawn.train_images.shape == (128, 3, 16, 16)
    assert drawn.val_images.shape == (24, 3, 16, 16)


def test_pool_contrast_and_labels_are_corrupted_as_asked(made, tmp_path):
    unpack(made, tmp_path)
    task = make_task("cifar10", 32, DataSource(str(tmp_path)))
    small = task.draw(2, SIZES, Corruption(pool_size=32))
    assert small.pool == 32
    assert torch.equal(small.train_images[:32], small.train_images[32:64])
    clean, strong = (task.draw(2, SIZES, Corruption(contrast=c, brightness=0.0)) for c in (0.0, 1.5))
    spread = [drawn.val_images.flatten(1).std(1).log().std().item() for drawn in (clean, strong)]
    assert spread[0] < 0.2 < 1.0 < spread[1]


def test_an_unopened_archive_is_unpacked(made, tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(archive(made))
    task = make_task("cifar10", 32, DataSource(str(tmp_path)))
    assert len(task.draw(0, SIZES, Corruption()).test_labels) == SIZES.test


def test_a_truncated_archive_is_refused(made, tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(archive(made)[:-2000])
    with pytest.raises(
        DataError, match=r"cifar-10-python.tar.gz is damaged or truncated: its md5 is .*; to fetch it: "
    ):
        make_task("cifar10", 32, DataSource(str(tmp_path)))


def test_a_damaged_file_is_named(made, tmp_path):
    folder = unpack(made, tmp_path)
    body = bytearray(made["data_batch_3"])
    body[5000] ^= 1
    (folder / "data_batch_3").write_bytes(bytes(body))
    with pytest.raises(DataError, match="is damaged: data_batch_3 has md5"):
        make_task("cifar10", 32, DataSource(str(tmp_path)))


def test_a_truncated_file_is_named(made, tmp_path):
    folder = unpack(made, tmp_path)
    (folder / "test_batch").write_bytes(made["test_batch"][:100])
    with pytest.raises(DataError, match="is damaged: test_batch has md5"):
        make_task("cifar10", 32, DataSource(str(tmp_path)))


def test_a_missing_file_is_named(made, tmp_path):
    folder = unpack(made, tmp_path)
    (folder / "data_batch_5").unlink()
    with pytest.raises(DataError, match="has no data_batch_5"):
        make_task("cifar10", 32, DataSource(str(tmp_path)))


@pytest.mark.parametrize("content", [b"no pickle at all", pickle.dumps({"data": 1}), pickle.dumps([1, 2])])
def test_a_file_of_another_form_is_refused(made, tmp_path, monkeypatch, content):
    folder = unpack(made, tmp_path)
    (folder / "data_batch_1").write_bytes(content)
    expected = [["data_batch_1", md5(content)], *module.CIFAR10.train_list[1:]]
    monkeypatch.setattr(module.CIFAR10, "train_list", expected)
    with pytest.raises(DataError, match="not of CIFAR-10's form"):
        make_task("cifar10", 32, DataSource(str(tmp_path)))


def test_a_missing_data_set_says_where_it_looked_and_how_to_fetch_it(tmp_path):
    with pytest.raises(DataError) as caught:
        make_task("cifar10", 32, DataSource(str(tmp_path)))
    message = str(caught.value)
    assert f"not at {tmp_path}/cifar-10-batches-py" in message
    assert f"nor its archive at {tmp_path}/cifar-10-python.tar.gz" in message
    assert f"curl -fL {module.CIFAR10.url} | tar -xz -C {tmp_path}" in message
    assert "\n" not in message


def test_a_failed_download_says_how_to_fetch_it_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(module.CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")  # nobody listens there
    with pytest.raises(DataError, match=r"could not be downloaded to .*; to fetch it: mkdir -p "):
        make_task("cifar10", 32, DataSource(str(tmp_path), download=True))


@pytest.fixture
def served(made, tmp_path_factory, monkeypatch) -> Iterator[None]:
    """The archive is where torchvision fetches it from."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "cifar-10-python.tar.gz").write_bytes(archive(made))
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(module.CIFAR10, "url", f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz")
        yield
        server.shutdown()


def test_a_download_that_works_is_used(served, tmp_path):
    task = make_task("cifar10", 32, DataSource(str(tmp_path / "data"), download=True))
    assert len(task.draw(0, SIZES, Corruption()).val_labels) == SIZES.val


def test_a_download_mends_a_truncated_archive(served, made, tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(archive(made)[:-2000])  # an interrupted download leaves one
    task = make_task("cifar10", 32, DataSource(str(tmp_path), download=True))
    assert len(task.draw(0, SIZES, Corruption()).val_labels) == SIZES.val


def test_a_download_mends_a_damaged_file(served, made, tmp_path):
    (unpack(made, tmp_path) / "test_batch").write_bytes(made["test_batch"][:100])
    task = make_task("cifar10", 32, DataSource(str(tmp_path), download=True))
    assert len(task.draw(0, SIZES, Corruption()).test_labels) == SIZES.test


def test_the_command_that_fetches_it_works_as_it_stands(served, made, tmp_path):
    root = tmp_path / "my data"
    root.mkdir()
    (unpack(made, root) / "data_batch_2").unlink()
    with pytest.raises(DataError) as caught:
        make_task("cifar10", 32, DataSource(str(root)))
    command = str(caught.value).partition("; to fetch it: ")[2]
    subprocess.run(["bash", "-c", command], check=True, capture_output=True, timeout=60)
    assert len(make_task("cifar10", 32, DataSource(str(root))).draw(0, SIZES, Corruption()).test_labels) == SIZES.test


def test_sizes_that_cannot_be_served_are_refused(made, tmp_path):
    unpack(made, tmp_path)
    with pytest.raises(ConfigError, match=r"image sizes \[16, 32\], got 8"):
        module.Cifar10Task(8, DataSource(str(tmp_path)))
    task = make_task("cifar10", 32, DataSource(str(tmp_path)))
    with pytest.raises(ConfigError, match="the val split of cifar10 holds 30 images, got a size of 31"):
        task.draw(0, SplitSizes(train=8, val=31, test=8), Corruption())
    with pytest.raises(ConfigError, match="the reward split of cifar10 holds 6 images, got a size of 7"):
        task.draw(0, SplitSizes(train=8, val=24, test=8, reward=7), Corruption())


def test_reward_images_are_those_of_the_validation_split_that_the_episode_does_not_show(made, tmp_path):
    unpack(made, tmp_path)
    task = module.Cifar10Task(32, DataSource(str(tmp_path)))
    drawn = task.draw(3, SIZES, Corruption())
    alone = task.draw(3, SplitSizes(train=128, val=24, test=48, reward=0), Corruption())
    assert torch.equal(drawn.val_images, alone.val_images)
    assert len(alone.reward_images) == 0
    every = task.draw(3, SplitSizes(train=128, val=30, test=48, reward=0), Corruption()).val_images
    both = torch.cat([drawn.val_images, drawn.reward_images])
    assert {image.numpy().tobytes() for image in both} == {image.numpy().tobytes() for image in every}
    assert len(both) == len(every) == 30


def test_the_remedy_does_nothing_where_torchvision_is_there_already():
    assert import_torchvision() is sys.modules["torchvision"]
    before = sys.modules["torchvision.datasets"]
    import_torchvision()
    assert sys.modules["torchvision.datasets"] is before
    declare_operators()  # declared already: nothing is declared twice
    assert hasattr(torch.ops.torchvision, "nms")


def test_another_failure_of_torchvision_is_not_hidden(monkeypatch):
    def fail(name: str):
        raise RuntimeError("something else")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(RuntimeError, match="something else"):
        import_torchvision()


def test_no_other_module_imports_torchvision():
    package = Path(module.__file__).parents[1]
    pattern = re.compile(r"^\s*(import|from) torchvision", re.M)
    found = {path.name for path in package.rglob("*.py") if pattern.search(path.read_text())}
    assert found == {"cifar10.py"}
    # Nor is that one imported unless its task is asked for.
    assert "cifar10" not in re.findall(r"^from \.(\w+) import", (package / "data" / "__init__.py").read_text(), re.M)


def test_a_batch_that_names_anything_but_an_array_is_refused_unread(tmp_path):
    path = tmp_path / "data_batch_1"
    path.write_bytes(b"cos\nmkdir\n(V" + str(tmp_path / "evil").encode() + b"\ntR.")
    with pytest.raises(pickle.UnpicklingError, match=r"names os\.mkdir"):
        module._Batch.read(path)
    assert not (tmp_path / "evil").exists()


def test_an_archive_with_the_right_checksum_writes_nothing_outside_of_its_folder(tmp_path, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    path = root / module.CIFAR10.filename
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../evil"))
    monkeypatch.setattr(module.CIFAR10, "tgz_md5", module.calculate_md5(path))
    with pytest.raises(DataError, match="cannot be unpacked"):
        module.find(DataSource(root=str(root)))
    assert not (tmp_path / "evil").exists()
