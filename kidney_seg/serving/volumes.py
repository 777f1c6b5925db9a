"""Segment whole volumes with a served model: the labels of `kidney_seg.predict`; see docs/howto/serving.md."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_prep.errors import InputError
from data_prep.files.names import printable
from data_prep.origin import UNSTATED
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.serving.client import RetryPolicy, Transport, fetch_contract, segment

NAME = "kidney_seg"


def connect(server: str, model: str = NAME) -> Transport:
    """Return the transport to a server: `HOST:PORT` or `grpc://`, `grpcs://` (TLS), `http://`, `https://HOST:PORT`.

    Nothing is sent yet. InputError for anything else, or for gRPC without the extra `serving`.
    """
    scheme, found, address = server.rpartition("://")
    scheme, address = scheme if found else "grpc", address.rstrip("/")
    host, colon, port = address.rpartition(":")
    if scheme not in ("grpc", "grpcs", "http", "https") or not (host and colon and port.isdecimal()):
        raise InputError(f"server {server}: expected HOST:PORT (gRPC) or http://HOST:PORT (REST)")
    if scheme in ("http", "https"):
        from kidney_seg.serving.rest_transport import RestTransport

        return RestTransport(address, model, secure=scheme == "https")
    from kidney_seg.serving.grpc_transport import GrpcTransport

    return GrpcTransport(address, model, secure=scheme == "grpcs")


def segment_file(
    transport: Transport,
    image: str | Path,
    out: str | Path,
    settings: PredictionConfig | None = None,
    policy: RetryPolicy | None = None,
    concurrent_requests: int = 4,
    series: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> None:
    """Segment one CT volume with a served model and write post-processed labels on the grid of its file.

    The file appears when the labels of all slices have arrived, or not at all.

    Args:
        transport: `connect(server)`.
        image, series: as for `read_volume`.
        out: label file to write.
        settings: of the post-processing; None: the served model's.
        changes: settings that differ from these, such as `{"postprocess": False}`.

    Raises:
        InputError: the image cannot be read, a request fails permanently, or the settings smooth along z, which a
            server of single slices cannot do.
    """
    from data_prep.volume import read_volume, write_labels
    from kidney_seg.predict.predictor import finish_labels

    policy, changes = policy or RetryPolicy(), changes or {}
    wanted = replace(settings or fetch_contract(transport, policy)[0].prediction, **changes)
    if wanted.smooth_z_mm:
        raise InputError(
            f"smooth_z_mm={wanted.smooth_z_mm:g}: found smoothing along z, expected 0, because a server labels slices "
            "one by one; use python -m kidney_seg.predict, or --set smooth_z_mm=0 for labels without it",
            code="smoothing",
        )
    volume = read_volume(image, series)
    for note in volume.notes:
        print(f"note: {note}", file=sys.stderr)
    labels, contract = segment(transport, volume.voxels, volume.spacing_mm, policy, concurrent_requests)
    print(f"model: {printable('; '.join(contract.trained_on) or UNSTATED.trained)}")
    labels = finish_labels(labels, volume.spacing_mm, replace(settings or contract.prediction, **changes))
    write_labels(labels, volume.source, out)
