"""The options of a session, and what the native half is given for them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, SupportsIndex, TypeAlias, TypedDict

from ._errors import OptionError
from ._native_types import LoadArgs, SessionArgs

Path: TypeAlias = "str | os.PathLike[str]"
Size: TypeAlias = "int | tuple[int, int]"
Assume: TypeAlias = "Mapping[str, str | bool | int | float | Sequence[int]]"


class SessionOptions(TypedDict, total=False):
    """The options of a session by name, as `Session` describes them."""

    device: str | int | None
    precision: Literal["f32", "f16"]
    batch: int
    size: Size | None
    tuning: Path | None
    assume: Assume | None
    output: str
    keep: Iterable[str]
    mode: Literal["structured", "literal", "residual"]
    merge: bool
    threads: int | None
    timeout: float | None
    check_input: bool


DEFAULTS: SessionOptions = {
    "device": None,
    "precision": "f32",
    "batch": 1,
    "size": None,
    "tuning": None,
    "assume": None,
    "output": "logits",
    "keep": (),
    "mode": "structured",
    "merge": False,
    "threads": None,
    "timeout": None,
    "check_input": True,
}


def load_args(size: Size | None, assume: Assume | None) -> LoadArgs:
    """How a checkpoint is read, as the native half takes it."""
    if size is not None:
        sides = (size, size) if isinstance(size, SupportsIndex) else tuple(size)
        if len(sides) != 2 or isinstance(size, str):
            raise OptionError(f"size: expected a side or (height, width), found {size!r}")
        size = (whole_number("size", sides[0]), whole_number("size", sides[1]))
    stated = [(str(key), _assumed_text(value)) for key, value in (assume or {}).items()]
    return {"size": size, "assume": stated}


def whole_number(name: str, value: object) -> int:
    """A number of things, at least 1; NumPy's integers too."""
    if not isinstance(value, bool) and isinstance(value, SupportsIndex) and value.__index__() >= 1:
        return value.__index__()
    raise OptionError(f"{name}: expected a whole number, at least 1, found {value!r}")


def _assumed_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(_assumed_text(one) for one in value)
    return str(value)


def native_args(options: SessionOptions) -> tuple[SessionOptions, LoadArgs, SessionArgs]:
    """The options as a pickle holds them, and as the native half takes them. Refuses those of a wrong type."""
    if isinstance(options["keep"], str):
        raise OptionError(f"keep: expected a list of names, found a text: pass [{options['keep']!r}]")
    names = list(options["keep"])
    batch, threads, timeout = whole_number("batch", options["batch"]), options["threads"], options["timeout"]
    threads = None if threads is None else whole_number("threads", threads)
    texts = [("precision", options["precision"]), ("output", options["output"]), ("mode", options["mode"])]
    for name, text in (*texts, *(("keep", kept) for kept in names)):
        if not isinstance(text, str):
            raise OptionError(f"{name}: expected a text, found {text!r}")
    if timeout is not None and not isinstance(timeout, (int, float)):
        raise OptionError(f"timeout: expected seconds, found {timeout!r}")
    tuning = options["tuning"]
    tuning = None if tuning is None else os.path.abspath(os.fspath(tuning))
    device = options["device"]
    stored: SessionOptions = {**options, "keep": names, "tuning": tuning}
    native: SessionArgs = {
        "device": "auto" if device is None else str(device),
        "precision": options["precision"],
        "batch": batch,
        "output": options["output"],
        "keep": names,
        "mode": options["mode"],
        "merge": bool(options["merge"]),
        "threads": threads,
        "timeout": timeout,
        "check_input": bool(options["check_input"]),
        "tuning": tuning,
    }
    return stored, load_args(options["size"], options["assume"]), native
