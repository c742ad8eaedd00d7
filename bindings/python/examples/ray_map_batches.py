"""Classifies many images on many machines with Ray Data: one session per actor, one GPU per actor.

    python ray_map_batches.py MODEL FOLDER_OF_IMAGES OUT.parquet --actors 8 --gpus 1 --batch 64

An actor that dies is started again, and its batch with it: every row comes out once. An image that cannot be read does
not end the job: its row has the reason in the column `error`, which is empty in the others.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import ray
import rmnet
import rmnet.ray

NOTHING = rmnet.Prediction(-1, "", float("nan"), float("nan"))
"""What stands for the class of an image that cannot be read."""


class Classifier:
    """An actor of Ray: it opens the session once, and is called for every batch."""

    def __init__(self, model: str, batch: int, threads: int | None = None) -> None:
        self.session = rmnet.Session(model, device=rmnet.ray.device(), batch=batch, threads=threads)

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        images = list(rows["bytes"])
        errors = [""] * len(images)
        try:
            found = self.session.classify(images, top_k=1)
        except rmnet.InputError:
            # Some of them cannot be read. Each is prepared alone, to find them, and the others are run.
            prepared = []
            for index, image in enumerate(images):
                try:
                    prepared.append(self.session.prepare([image]))
                except rmnet.InputError as error:
                    errors[index] = str(error).removeprefix("image 0: ")
            found = self.session.predictions(self.session.run(np.concatenate(prepared)), 1) if prepared else []
        tops = iter(found)
        best = [NOTHING if error else next(tops)[0] for error in errors]
        return {
            "path": rows["path"],
            "class": np.array([b.class_index for b in best]),
            "label": np.array([str(b.class_index) if b.label is None else b.label for b in best]),
            "probability": np.array([b.probability for b in best], float),
            "error": np.array(errors),
        }


def classify(
    files: ray.data.Dataset,
    model: str,
    *,
    actors: int = 2,
    gpus: float = 0,
    batch: int = 64,
    threads: int | None = None,
    actor: type[Classifier] = Classifier,
) -> ray.data.Dataset:
    """The best class of every file in a data set with the columns `bytes` and `path`."""
    return files.map_batches(
        actor,
        fn_constructor_kwargs={"model": model, "batch": batch, "threads": threads},
        compute=ray.data.ActorPoolStrategy(size=actors),
        batch_size=batch,
        num_gpus=gpus,
        # By default an actor on the CPU takes as many cores as there are. Less than one is asked for, so that the tasks
        # that read the files have theirs.
        num_cpus=threads or 0.5,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", help="a checkpoint on every machine: a file or a folder")
    parser.add_argument("images", help="a folder of PNG and JPEG files, on every machine or in an object store")
    parser.add_argument("out", help="a folder for Parquet files")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--gpus", type=float, default=0, help="GPUs of an actor: 1, or 0 for the CPU")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument(
        "--threads", type=int, help="threads that compute in an actor on the CPU, and cores asked of Ray"
    )
    args = parser.parse_args()
    files = ray.data.read_binary_files(args.images, include_paths=True, file_extensions=["png", "jpg", "jpeg"])
    found = classify(files, args.model, actors=args.actors, gpus=args.gpus, batch=args.batch, threads=args.threads)
    found.write_parquet(args.out)


if __name__ == "__main__":
    main()
