"""npm packages of the other contenders: pinned tarballs from the registry, checked, unpacked under target/web-bench. No npm."""

import base64
import hashlib
import pathlib
import shutil
import tarfile
import urllib.request

REGISTRY = "https://registry.npmjs.org"
# Package, version, and the registry's own `integrity`: SHA-512 of the tarball.
PACKAGES = {
    "onnxruntime-web": ("1.30.0", "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="),
    # transformers.js 4.3.2 depends on exactly this version for browsers.
    "onnxruntime-web-dev": (
        "1.31.0-dev.20260914-8d85527a0",
        "Iy7rtadoBgxS/LLvDr3QW38DB1PNXRnr0GJMcL0TAt7c9qjgVQl83UlGCVyeAnK2InpmW8Uc3PL8XIuqtDeF6g==",
    ),
    "@huggingface/transformers": (
        "4.3.2", "V3+dqf3iWlRYJ9I9GreM3zGQd0lAXnnoPeddmkOQYWAEE4l/+Fi6p7tx/qVUJlKQgLXGim2W76rTOzz+eC0i7g=="),
    "@tensorflow/tfjs-core": (
        "4.22.0", "LEkOyzbknKFoWUwfkr59vSB68DMJ4cjwwHgicXN0DUi3a0Vh1Er3JQqCI1Hl86GGZQvY8ezVrtDIvqR1ZFW55A=="),
    "@tensorflow/tfjs-backend-cpu": (
        "4.22.0", "1u0FmuLGuRAi8D2c3cocHTASGXOmHc/4OvoVDENJayjYkS119fcTcQf4iHrtLthWyDIPy3JiPhRrZQC9EwnhLw=="),
    "@tensorflow/tfjs-backend-wasm": (
        "4.22.0", "/IYhReRIp4jg/wYW0OwbbJZG8ON87mbz0PgkiP3CdcACRSvUN0h8rvC0O3YcDtkTQtFWF/tcXq/KlVDyV49wmA=="),
    "@tensorflow/tfjs-backend-webgl": (
        "4.22.0", "H535XtZWnWgNwSzv538czjVlbJebDl5QTMOth4RXr2p/kJ1qSIXE0vZvEtO+5EC9b00SvhplECny2yDewQb/Yg=="),
    "@tensorflow/tfjs-backend-webgpu": (
        "4.22.0", "lvIc7Af4Tl2BCdYp43iQmSCRq3asaKT0q2xaErphXiUZ+jqeB0bQa0ZvQys1Xatvto0U4/c90DVsHPfvkn5ftg=="),
}


def version(package: str) -> str:
    return PACKAGES[package][0]


def unpacked(package: str, folder: pathlib.Path) -> pathlib.Path:
    """The folder of a package, downloaded if it is not there."""
    number, integrity = PACKAGES[package]
    real = package.removesuffix("-dev")
    out = folder / f"{package.replace('@', '').replace('/', '-')}-{number}"
    if (out / "package.json").exists():
        return out
    url = f"{REGISTRY}/{real}/-/{real.rsplit('/', 1)[-1]}-{number}.tgz"
    with urllib.request.urlopen(url, timeout=120) as answer:
        body = answer.read()
    found = base64.b64encode(hashlib.sha512(body).digest()).decode()
    if found != integrity:
        raise SystemExit(f"{url}: expected SHA-512 {integrity}, found {found}")
    folder.mkdir(parents=True, exist_ok=True)
    archive, scratch = folder / "download.tgz", folder / "unpacking"
    archive.write_bytes(body)
    shutil.rmtree(scratch, ignore_errors=True)
    with tarfile.open(archive) as tar:
        tar.extractall(scratch, filter="data")
    archive.unlink()
    (scratch / "package").rename(out)
    scratch.rmdir()
    return out
