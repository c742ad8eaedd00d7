"""The options of a session, and what the native half is given for them."""

from __future__ import annotations

import json
import numbers
import operator
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from ._errors import OptionError
from ._native_types import LoadArgs, SessionArgs

Path: TypeAlias = "str | os.PathLike[str]"
Size: TypeAlias = "int | Sequence[int]"
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
    self_test: bool
    self_test_record: Path | None


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
    "self_test": True,
    "self_test_record": None,
}


def load_args(size: Size | None, assume: Assume | None) -> LoadArgs:
    """How a checkpoint is read, as the native half takes it."""
    stated = [(text("assume", key), _assumed_text(value)) for key, value in pairs("assume", assume)]
    return {"size": None if size is None else _sides(size), "assume": stated}


def _sides(size: Any) -> tuple[int, int]:
    try:
        sides = tuple(size)
    except TypeError:
        sides = (size, size)
    if len(sides) != 2 or isinstance(size, (str, bytes)):
        raise OptionError(f"size: expected a side or (height, width), found {size!r}")
    return whole_number("size", sides[0]), whole_number("size", sides[1])


def whole_number(name: str, value: object, least: int = 1, most: int = sys.maxsize) -> int:
    """A number of things from `least` to `most`; NumPy's integers too."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least:
        raise OptionError(f"{name}: expected a whole number, at least {least}, found {_shown(value)}")
    if number > most:
        raise OptionError(f"{name}: expected a whole number up to {most}, found a larger one")
    return number


def real_number(name: str, value: object, what: str = "a number") -> float:
    """A number that need not be whole; NumPy's too."""
    if isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise OptionError(f"{name}: expected {what}, found {_shown(value)}")


def text(name: str, value: object) -> str:
    """A text that the native half can read."""
    if not isinstance(value, str):
        raise OptionError(f"{name}: expected a text, found {_shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise OptionError(f"{name}: expected a text that UTF-8 can encode, found {value!r}") from error
    return value


def _device_text(value: object) -> str:
    """A device as the native half takes it."""
    if value is None:
        return "auto"
    if isinstance(value, str):
        return text("device", value)
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise OptionError(f"device: expected None, a text or the number of an adapter, found {_shown(value)}")
    return str(whole_number("device", value, 0))


def _whole_path(name: str, value: Path | None) -> str | None:
    """An absolute path, as a process that opens a pickle may be in another folder."""
    return None if value is None else os.path.abspath(path_text(name, value))


def path_text(name: str, value: object) -> str:
    """A path as text."""
    try:
        path = os.fspath(value)  # type: ignore[call-overload]
    except TypeError:
        path = None
    if not isinstance(path, str):
        advice = ": pass `os.fsdecode(path)`" if isinstance(path, bytes) else ""
        raise OptionError(f"{name}: expected a path, found {type(value).__name__}{advice}")
    return path


def pairs(name: str, value: object) -> list[tuple[Any, Any]]:
    """The items of a mapping; none of `None`."""
    if value is not None and not isinstance(value, Mapping):
        raise OptionError(f"{name}: expected a mapping, such as a dict, found {type(value).__name__}")
    return [] if value is None else list(value.items())


def json_text(name: str, value: str | Mapping[str, Any] | None) -> str | None:
    """The content of a config file as text."""
    if value is None or isinstance(value, str):
        return value if value is None else text(name, value)
    try:
        return json.dumps(dict(pairs(name, value)))
    except (TypeError, ValueError) as error:
        raise OptionError(f"{name}: {error}") from error


def _shown(value: object) -> str:
    """A value for a message. Python refuses to print integers of thousands of digits."""
    try:
        shown = repr(value)
    except ValueError:
        return type(value).__name__
    return shown if len(shown) <= 80 else type(value).__name__


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
    try:
        names = [text("keep", name) for name in options["keep"]]
    except TypeError as error:
        raise OptionError(f"keep: expected a list of names, found {_shown(options['keep'])}") from error
    batch, threads, timeout = whole_number("batch", options["batch"]), options["threads"], options["timeout"]
    threads = None if threads is None else whole_number("threads", threads)
    timeout = None if timeout is None else real_number("timeout", timeout, "seconds")
    tuning = _whole_path("tuning", options["tuning"])
    record = _whole_path("self_test_record", options["self_test_record"])
    load = load_args(options["size"], options["assume"])
    assume = dict(pairs("assume", options["assume"])) or None
    stored: SessionOptions = {
        **options,
        "size": load["size"],
        "assume": assume,
        "keep": names,
        "tuning": tuning,
        "self_test_record": record,
    }
    native: SessionArgs = {
        "device": _device_text(options["device"]),
        "precision": text("precision", options["precision"]),
        "batch": batch,
        "output": text("output", options["output"]),
        "keep": names,
        "mode": text("mode", options["mode"]),
        "merge": bool(options["merge"]),
        "threads": threads,
        "timeout": timeout,
        "check_input": bool(options["check_input"]),
        "tuning": tuning,
        "self_test": bool(options["self_test"]),
        "self_test_record": record,
    }
    return stored, load, native
