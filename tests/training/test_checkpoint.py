from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_trl.errors import CheckpointError
from tamiyo_trl.training import list_checkpoints, load_checkpoint, save_checkpoint
from tamiyo_trl.training.checkpoint import FORMAT, VERSION, checkpoint_path

LEAVES = st.one_of(st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.booleans(), st.none())
STATES = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        LEAVES,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.tuples(inner, inner),
            st.dictionaries(st.text(max_size=3), inner, max_size=3),
        ),
        max_leaves=8,
    ),
    max_size=4,
)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Return an older and a newer checkpoint of one folder."""
    paths = checkpoint_path(tmp_path, 10), checkpoint_path(tmp_path, 20)
    for updates, path in zip((10, 20), paths):
        save_checkpoint(path, {"updates": updates, "weights": torch.arange(100.0)})
    return paths


@given(state=STATES)
def test_what_is_saved_is_what_is_loaded(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("c") / "checkpoint_00000001.pt"
    save_checkpoint(path, state)
    assert load_checkpoint(path) == state


def test_tensors_come_back_bit_for_bit_and_a_view_does_not_drag_its_storage_along(tmp_path):
    whole = torch.randn(1_000_000)
    save_checkpoint(checkpoint_path(tmp_path, 0), {"part": whole[:10], "random": torch.get_rng_state()})
    loaded = load_checkpoint(tmp_path)
    assert torch.equal(loaded["part"], whole[:10])
    assert torch.equal(loaded["random"], torch.get_rng_state())
    assert checkpoint_path(tmp_path, 0).stat().st_size < 50_000


def test_a_folder_means_its_newest_checkpoint(two):
    assert load_checkpoint(two[0].parent)["updates"] == 20
    assert list_checkpoints(two[0].parent) == [two[1], two[0]]


def test_only_the_newest_are_kept(tmp_path):
    for updates in (5, 10, 15, 20):
        save_checkpoint(checkpoint_path(tmp_path, updates), {}, keep=3)
    assert [path.name for path in list_checkpoints(tmp_path)] == [f"checkpoint_{n:08d}.pt" for n in (20, 15, 10)]


def test_every_truncation_is_refused_and_the_older_checkpoint_named(two):
    old, new = two
    content = new.read_bytes()
    for size in {0, 1, 20, 60, 150, 300, len(content) // 2, len(content) - 1}:
        new.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match=f"{new.name}.*{old.name} still loads") as caught:
            load_checkpoint(new)
        assert "truncated" in str(caught.value) or size == 0


def test_every_single_changed_byte_is_noticed(two):
    _, new = two
    content = new.read_bytes()
    for place in range(0, len(content), 97):
        new.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(CheckpointError):
            load_checkpoint(new)


def test_foreign_files_are_refused_for_what_they_are(two, tmp_path):
    _, new = two
    torch.save({"updates": 20}, new)
    with pytest.raises(CheckpointError, match=r"not a tamiyo_trl checkpoint; checkpoint_00000010\.pt still loads"):
        load_checkpoint(new)
    new.write_text("hello")
    with pytest.raises(CheckpointError, match="not a tamiyo_trl checkpoint"):
        load_checkpoint(new)
    new.unlink()
    with pytest.raises(CheckpointError, match=r"no such file; checkpoint_00000010\.pt still loads"):
        load_checkpoint(new)
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        load_checkpoint(tmp_path.parent)


def test_a_later_version_is_refused_by_its_number(two):
    _, new = two
    line, _, body = new.read_bytes().partition(b"\n")
    new.write_bytes(json.dumps(json.loads(line) | {"version": 2}).encode() + b"\n" + body)
    with pytest.raises(CheckpointError, match="version 2; this library reads version 1"):
        load_checkpoint(new)


def test_nothing_older_to_fall_back_on_is_said(tmp_path):
    save_checkpoint(checkpoint_path(tmp_path, 1), {})
    checkpoint_path(tmp_path, 1).write_bytes(b"x")
    with pytest.raises(CheckpointError, match="no other checkpoint there loads"):
        load_checkpoint(tmp_path)


class Surprise:
    """Something a checkpoint cannot hold."""


def test_a_state_that_could_not_be_read_back_is_refused_when_saved(tmp_path):
    path = checkpoint_path(tmp_path, 1)
    with pytest.raises(CheckpointError, match=r"state\['a'\]\[1\] is a Surprise"):
        save_checkpoint(path, {"a": [0, Surprise()]})
    assert not path.exists()


def test_a_checkpoint_runs_no_code_when_read(tmp_path, two):
    import hashlib
    import pickle

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    body = pickle.dumps(Evil())
    header = {"format": "tamiyo_trl checkpoint", "version": 1, "bytes": len(body)}
    header["sha256"] = hashlib.sha256(body).hexdigest()
    two[1].write_bytes(json.dumps(header).encode() + b"\n" + body)
    with pytest.raises(CheckpointError, match="does not read"):
        load_checkpoint(two[1])
    assert not (tmp_path / "ran").exists()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write checkpoint"):
        save_checkpoint(tmp_path / "file" / "checkpoint_00000001.pt", {})


@pytest.mark.parametrize("word", ["version", "bytes", "sha256"])
def test_a_damaged_word_of_the_first_line_is_damage_and_does_not_spoil_the_advice(two, word):
    """For the newest file and, through the advice, for an older one."""
    for path in reversed(two):
        path.write_bytes(path.read_bytes().replace(word.encode(), word[::-1].encode(), 1))
        with pytest.raises(CheckpointError, match="damaged: its first line"):
            load_checkpoint(two[1])


@pytest.mark.parametrize("size", [None, True, "10", 1.0])
def test_a_size_that_is_no_integer_is_damage(two, size):
    line, _, body = two[1].read_bytes().partition(b"\n")
    two[1].write_bytes(json.dumps(json.loads(line) | {"bytes": size}).encode() + b"\n" + body)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(two[1])


@pytest.mark.parametrize("content", [[1, 2], 3.0, torch.zeros(2)])
def test_what_is_no_mapping_is_no_state(two, content):
    _write(two[1], content)
    with pytest.raises(CheckpointError, match="not a state"):
        load_checkpoint(two[1])


@pytest.mark.parametrize("body", [b"", b"x" * 100, b"\x80\x04.", b"hello.txt" + bytes(2000)])
def test_a_body_of_another_kind_with_the_right_checksum_is_refused(two, body):
    _write_body(two[1], body)
    with pytest.raises(CheckpointError, match="does not read"):
        load_checkpoint(two[1])


def test_brackets_without_end_are_no_checkpoint(two):
    two[1].write_bytes(b"[" * 4000 + b"\n")
    with pytest.raises(CheckpointError, match="not a tamiyo_trl checkpoint"):
        load_checkpoint(two[1])


def test_a_write_that_fails_leaves_no_temporary_file(two, monkeypatch):
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    before = sorted(two[0].parent.iterdir())
    with pytest.raises(CheckpointError, match="No space left"):
        save_checkpoint(checkpoint_path(two[0].parent, 30), {"updates": 30})
    assert sorted(two[0].parent.iterdir()) == before


def _write(path: Path, content: object) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    _write_body(path, buffer.getvalue())


def _write_body(path: Path, body: bytes) -> None:
    header = {"format": FORMAT, "version": VERSION, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    path.write_bytes(json.dumps(header).encode() + b"\n" + body)
