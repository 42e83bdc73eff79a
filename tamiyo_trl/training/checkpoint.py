"""Checkpoints: files that are whole or absent, say what they are, and run no code when read.

A file is a line of ASCII (format, version, size and SHA-256 of the rest), then the state written by `torch.save`. It is
written beside its final place and renamed into it, so that a process killed at any moment leaves the old file or the
new one, never half of either.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tamiyo_trl.errors import CheckpointError
from tamiyo_trl.files import write_whole

FORMAT = "tamiyo_trl checkpoint"
VERSION = 1
HEADER = {"format": str, "version": int, "bytes": int, "sha256": str}
HEADER_LIMIT = 4096  # bytes
# What torch.load raises for bodies that it did not write, by what is in them.
UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError)
PATTERN = re.compile(r"checkpoint_(\d{8,})\.pt")
SCALARS = (bool, int, float, str, bytes, type(None), torch.Tensor, torch.Size, torch.dtype, torch.device)


def checkpoint_path(directory: Path, updates: int) -> Path:
    """Return where the checkpoint after `updates` updates lies."""
    return Path(directory) / f"checkpoint_{updates:08d}.pt"


def list_checkpoints(directory: Path) -> list[Path]:
    """Return the checkpoints in `directory`, newest (most updates) first; none where there is no such directory."""
    found = [(int(match[1]), path) for path in Path(directory).glob("*.pt") if (match := PATTERN.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def save_checkpoint(path: str | os.PathLike[str], state: Mapping[str, Any], *, keep: int = 3) -> None:
    """Write `state` to `path` atomically, then delete all but the newest `keep` checkpoints beside it.

    `state` may hold tensors, numbers, strings, and mappings, lists and tuples of them.

    Raises:
        CheckpointError: the state holds something else, or the file cannot be written.
    """
    path = Path(path)
    if keep < 1:
        raise CheckpointError(f"keep must be at least 1: {keep}")
    body = _encode(state)
    digest = hashlib.sha256(body).hexdigest()
    header = json.dumps({"format": FORMAT, "version": VERSION, "bytes": len(body), "sha256": digest})
    try:
        write_whole(path, header.encode() + b"\n" + body)
        for old in list_checkpoints(path.parent)[keep:]:
            old.unlink()
    except OSError as error:
        raise CheckpointError(f"cannot write checkpoint {path}: {error.strerror}") from error


def load_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the state saved at `path`, a file, or a directory whose newest checkpoint is meant; tensors on the CPU.

    Raises:
        CheckpointError: missing, truncated, damaged, foreign or of a later version; the message says which, and names
            the newest other checkpoint in the same directory that does load.
    """
    path = Path(path)
    if path.is_dir():
        found = list_checkpoints(path)
        if not found:
            raise CheckpointError(f"no checkpoint in {path}: expected files called checkpoint_00000000.pt and the like")
        path = found[0]
    try:
        return _decode(_read(path))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}; {_advice(path)}") from error


def _encode(state: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(_plain(state, "state"), buffer)
    return buffer.getvalue()


def _plain(value: Any, where: str) -> Any:
    """Return `value` rebuilt from plain containers, so that it can be read back without running code."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()  # a view would drag the whole of its storage into the file
    if isinstance(value, SCALARS):
        return value
    if isinstance(value, Mapping):
        return {_plain(key, where): _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return items if isinstance(value, list) else tuple(items)
    raise CheckpointError(f"{where} is a {type(value).__name__}, which a checkpoint cannot hold")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError("no such file") from None
    except OSError as error:
        raise CheckpointError(f"cannot be read: {error.strerror}") from error


def _decode(content: bytes) -> dict[str, Any]:
    line, newline, body = content[:HEADER_LIMIT].partition(b"\n")
    try:
        header = json.loads(line)
        known = isinstance(header, dict) and header.get("format") == FORMAT
    except (ValueError, RecursionError):
        known = False
    if not known:
        started = not newline and b'{"format": "'.startswith(line[:12])
        raise CheckpointError("truncated within its first line" if started else f"not a {FORMAT}")
    if header.keys() != HEADER.keys() or any(type(header[name]) is not kind for name, kind in HEADER.items()):
        raise CheckpointError(f"damaged: its first line is not of {', '.join(HEADER)}")
    if header["version"] != VERSION:
        raise CheckpointError(f"version {header['version']}; this library reads version {VERSION}")
    body = content[len(line) + 1 :]
    if len(body) != header["bytes"]:
        kind = "truncated" if len(body) < header["bytes"] else "too long"
        raise CheckpointError(f"{kind}: {len(body)} of {header['bytes']} bytes")
    if hashlib.sha256(body).hexdigest() != header["sha256"]:
        raise CheckpointError("damaged: its checksum does not match")
    try:
        state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise CheckpointError(f"holds objects this library does not read ({error})") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"holds a {type(state).__name__}, not a state")
    return state


def _advice(path: Path) -> str:
    for other in list_checkpoints(path.parent):
        if other == path:
            continue
        with contextlib.suppress(CheckpointError):
            _decode(_read(other))
            return f"{other.name} still loads"
    return "no other checkpoint there loads"
