"""The native half of the package `rmnet`. Private: its names and signatures may change with any version."""

import os
from typing import Any, TypeAlias, TypedDict, final

import numpy as np
import numpy.typing as npt

__version__: str

_Path: TypeAlias = str | os.PathLike[str]
_Floats: TypeAlias = npt.NDArray[np.float32]
NativeImage: TypeAlias = bytes | str | npt.NDArray[np.uint8]

class LoadArgs(TypedDict):
    size: tuple[int, int] | None
    assume: list[tuple[str, str]]

class SessionArgs(TypedDict):
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
    tuning: _Path | None

class PruneArgs(TypedDict):
    ratio: float | None
    macs: float | None
    criterion: str
    keep_channels: int | None
    keep_share: float | None
    limits: list[tuple[str, float]]
    multiple: int
    coupled: bool
    reserved: bool

@final
class Core:
    @staticmethod
    def open(path: _Path, load: LoadArgs, options: SessionArgs) -> Core: ...
    @staticmethod
    def from_bytes(
        data: bytes, config: str | None, preprocessor: str | None, load: LoadArgs, options: SessionArgs
    ) -> Core: ...
    def with_output(self, choice: str) -> Core: ...
    def run(self, array: _Floats) -> _Floats: ...
    def run_keeping(self, array: _Floats) -> tuple[_Floats, dict[str, _Floats]]: ...
    def prepare(self, images: list[NativeImage]) -> _Floats: ...
    def run_images(self, images: list[NativeImage]) -> _Floats: ...
    def top_k(self, logits: _Floats, k: int) -> list[tuple[int, str | None, float | None, float]]: ...
    def verify(self, input: _Floats | None, seed: int) -> dict[str, Any]: ...
    def plan(self, svg: bool) -> str: ...
    @property
    def blocks(self) -> list[tuple[str, str, str]]: ...
    @property
    def assumed(self) -> list[tuple[str, str, bool]]: ...
    @property
    def memory(self) -> tuple[int, int, int, int]: ...
    @property
    def input_shape(self) -> tuple[int, int, int, int]: ...
    @property
    def output_shape(self) -> list[int]: ...
    @property
    def labels(self) -> list[str] | None: ...
    @property
    def device(self) -> str: ...
    @property
    def is_on_gpu(self) -> bool: ...
    @property
    def passed_over(self) -> list[str]: ...
    @property
    def family(self) -> str: ...
    @property
    def preprocess(self) -> str: ...
    @property
    def tuned_dispatches(self) -> int | None: ...

def adapters() -> list[dict[str, Any]]: ...
def convert(
    path: _Path, out: _Path, load: LoadArgs, choice: str, literal: bool, merge: bool
) -> dict[str, Any]: ...
def prune(
    path: _Path, out: _Path, load: LoadArgs, options: PruneArgs, calibration: _Floats | None
) -> dict[str, Any]: ...
