"""What the native half is given."""

from __future__ import annotations

from typing import TypeAlias, TypedDict

import numpy as np
import numpy.typing as npt

# A file's bytes, a path, or pixels and whether blue comes first.
NativeImage: TypeAlias = "bytes | str | tuple[npt.NDArray[np.uint8], bool]"


class LoadArgs(TypedDict):
    """How a checkpoint is read."""

    size: tuple[int, int] | None
    assume: list[tuple[str, str]]


class SessionArgs(TypedDict):
    """The options of a session."""

    device: str
    precision: str
    batch: int
    output: str
    keep: list[str]
    mode: str
    merge: bool
    threads: int | None
    timeout: float | None
    check_input: bool
    tuning: str | None
    self_test: bool
    self_test_record: str | None


class LeastArgs(TypedDict):
    """What every layer keeps: one of the two."""

    keep_channels: int | None
    keep_share: float | None


class PruneArgs(LeastArgs):
    """How much is removed, and where."""

    ratio: float | None
    macs: float | None
    criterion: str
    limits: list[tuple[str, float]]
    multiple: int
    coupled: bool
    reserved: bool
