"""Pack a trained model as the one that ships: `python -m benchmarks.starter RUN --out starter.keras`; see `--help`."""

from __future__ import annotations

import argparse
import io
import json
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

from data_prep.cli import command
from data_prep.errors import InputError
from data_prep.files.atomic import replacing, write_file
from data_prep.files.checksums import sha256_of
from data_prep.files.outputs import check_outputs
from kidney_seg.config.run_config import Config
from kidney_seg.model.model_archive import SETTINGS_MEMBER, WEIGHTS_MEMBER
from kidney_seg.model.model_file import find_source
from kidney_seg.predict.onnx.files import onnx_files, onnx_name
from kidney_seg.predict.onnx.runtime import make_onnx
from kidney_seg.weights import STARTER, About

MOST_MB = 12
ABOUT = About(
    STARTER,
    "trained on 2-D slices of KiTS19, KiTS23 and CURVAS; for research, not for diagnosis",
    "weights CC BY-NC-SA 4.0: non-commercial, share alike",
)


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.starter",
        description="Pack a trained model as the one that ships: kernels in half precision, prediction settings for "
        "whole scans, and what it was trained on. Its ONNX file is written beside it. Trained by "
        "`python -m benchmarks.real_slices ... --arms whole`.",
        epilog="example: python -m benchmarks.starter OUT/full/whole/fold0-seed0 --out starter.keras",
    )
    parser.add_argument("model", metavar="MODEL", help="run folder or .keras file")
    parser.add_argument("--out", required=True, metavar="FILE", help=".keras file")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="prediction settings, such as smooth_z_mm=4"
    )
    return parser


def in_half_precision(weights: bytes) -> bytes:
    """Return a Keras weights file whose arrays of two axes or more are float16; Keras loads them as float32.

    Biases and moving averages stay float32: a variance may exceed the range of float16.
    """
    import h5py

    made = io.BytesIO()

    def copy(source: h5py.Group, target: h5py.Group) -> None:
        target.attrs.update(source.attrs)
        for name, item in source.items():
            if isinstance(item, h5py.Group):
                copy(item, target.create_group(name))
                continue
            value = item[()]
            is_kernel = getattr(value, "ndim", 0) >= 2 and value.dtype == "float32"
            target.create_dataset(name, data=value.astype("float16") if is_kernel else value).attrs.update(item.attrs)

    with h5py.File(io.BytesIO(weights)) as source, h5py.File(made, "w") as target:
        copy(source, target)
    return made.getvalue()


def _is_packed(path: Path) -> bool:
    try:
        return find_source(path).about is not None
    except InputError:
        return False


def pack(model: str | Path, out: str | Path, assignments: list[str]) -> None:
    """Write the model of a run folder or `.keras` file as the one that ships, and its ONNX file beside it.

    InputError if it is too large, or if `out` is the model itself or a file that is no packed model.
    """
    path = find_source(model).path
    out = Path(out)
    check_outputs([out], [path], _is_packed)
    earlier = onnx_files(find_source(out)) if out.exists() else []
    with replacing(out) as temporary:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as new:
            for name in old.namelist():
                content = old.read(name)
                if name == WEIGHTS_MEMBER:
                    content = in_half_precision(content)
                elif name == SETTINGS_MEMBER:
                    settings = json.loads(content)
                    config = Config.from_dict(settings["config"]).with_settings(assignments)
                    settings |= {"config": config.to_dict(), "about": asdict(ABOUT)}
                    content = json.dumps(settings, indent=2).encode()
                member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # equal bytes from equal weights
                member.compress_type = zipfile.ZIP_DEFLATED
                new.writestr(member, content)
        if (size := temporary.stat().st_size) > MOST_MB * 1e6:
            raise InputError(f"the model takes {size / 1e6:.1f} MB; expected at most {MOST_MB}", path=path)
    for file in earlier:
        file.unlink()
    packed = find_source(out)
    content = make_onnx(packed)
    write_file(out.with_name(onnx_name(packed, content)), content)


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """Pack the model and print its checksum."""
    pack(options.model, options.out, options.set)
    print(f"{options.out}: {Path(options.out).stat().st_size / 1e6:.2f} MB, SHA-256 {sha256_of(Path(options.out))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
