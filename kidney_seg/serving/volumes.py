"""Segment whole volumes with a model that is served: `python -m kidney_seg.serving HOST:PORT INPUT --out OUT`.

Speaks to TF Serving over gRPC or REST; reads and writes what `kidney_seg.predict` does, and gives the same labels.
`--check DIR` tells whether an exported model holds its contract. See docs/howto/serving.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

from data_prep.errors import InputError
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.serving.client import Patience, Transport, segment

NAME = "kidney_seg"


def connect(server: str, model: str = NAME) -> Transport:
    """Return the transport to a server: `HOST:PORT` or `grpc://`, `grpcs://` (TLS), `http://`, `https://HOST:PORT`.

    Nothing is sent yet. InputError for anything else, or if gRPC is asked for without the extra `serving`.
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
    patience: Patience | None = None,
    in_flight: int = 4,
    series: str | None = None,
) -> None:
    """Read one CT volume, have it segmented, post-process, and write labels on exactly the grid of its file.

    `image` and `series` as for `read_volume`. settings: of the post-processing; the served model's own without them.
    The file appears when the labels of all slices are there, or not at all.
    """
    from data_prep.volume import read_volume, write_labels

    volume = read_volume(image, series)
    for note in volume.notes:
        print(f"note: {note}", file=sys.stderr)
    labels, promise = segment(transport, volume.voxels, volume.spacing_mm, patience, in_flight)
    settings = settings or promise.prediction
    if settings.postprocess:
        from kidney_seg.postprocess.distant_objects import remove_distant_objects

        labels = remove_distant_objects(labels, volume.spacing_mm, settings.distance_mm, settings.kidney_ml)
    write_labels(labels, volume.source, out)
