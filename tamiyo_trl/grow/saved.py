"""Settings that went through JSON, as the dataclasses they were."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from tamiyo_trl.errors import ConfigError

T = TypeVar("T")


def rebuilt(kind: type[T], settings: Mapping[str, Any]) -> T:
    """Return the frozen dataclass `kind` whose fields JSON holds: lists become tuples, mappings dataclasses.

    Raises:
        ConfigError: a field that `kind` does not have, or a value that it refuses.
    """
    hints = get_type_hints(kind)
    unknown = [name for name in settings if name not in hints]
    if unknown:
        raise ConfigError(f"{kind.__name__} has no {', '.join(unknown)}: the settings are of another version")
    return kind(**{name: _value(hints[name], value) for name, value in settings.items()})


def _value(hint: Any, value: Any) -> Any:
    if isinstance(value, Mapping) and dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return rebuilt(hint, value)
    if isinstance(value, list):
        return tuple(tuple(item) if isinstance(item, list) else item for item in value)
    return Path(value) if hint is Path else value
