"""Classifies many images on many machines with Ray Data: one session per actor, one GPU per actor.

    python ray_map_batches.py MODEL FOLDER_OF_IMAGES OUT.parquet --actors 8 --gpus 1 --batch 64

An actor that dies is started again, and its batch with it: every row comes out once.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import ray
import rmnet
import rmnet.ray


class Classifier:
    """An actor of Ray: it opens the session once, and is called for every batch."""

    def __init__(self, model: str, batch: int) -> None:
        self.session = rmnet.Session(model, device=rmnet.ray.device(), batch=batch)

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        best = [top[0] for top in self.session.classify(rows["bytes"], top_k=1)]
        return {
            "path": rows["path"],
            "class": np.array([b.class_index for b in best]),
            "label": np.array([b.label or str(b.class_index) for b in best]),
            "probability": np.array([b.probability for b in best]),
        }


def classify(
    files: ray.data.Dataset,
    model: str,
    *,
    actors: int = 2,
    gpus: float = 0,
    batch: int = 64,
    actor: type[Classifier] = Classifier,
) -> ray.data.Dataset:
    """The best class of every file in a data set with the columns `bytes` and `path`."""
    return files.map_batches(
        actor,
        fn_constructor_kwargs={"model": model, "batch": batch},
        compute=ray.data.ActorPoolStrategy(size=actors),
        batch_size=batch,
        num_gpus=gpus,
        # Without GPUs an actor takes as many cores as there are. Less than one is asked for, so that the tasks that
        # read the files have theirs.
        num_cpus=0.5,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", help="a checkpoint on every machine: a file or a folder")
    parser.add_argument("images", help="a folder of PNG and JPEG files, on every machine or in an object store")
    parser.add_argument("out", help="a folder for Parquet files")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of an actor: 1, or 0 for the CPU")
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()
    files = ray.data.read_binary_files(args.images, include_paths=True)
    classify(files, args.model, actors=args.actors, gpus=args.gpus, batch=args.batch).write_parquet(args.out)


if __name__ == "__main__":
    main()
