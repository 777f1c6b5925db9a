"""Segment whole volumes with a served model: the labels of `kidney_seg.predict`; see docs/howto/serving.md."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import InputError
from data_prep.files.names import printable
from data_prep.origin import UNSTATED
from data_prep.volume import read_volume, write_labels
from kidney_seg.config.prediction import PredictionConfig
from kidney_seg.export.contract import Contract
from kidney_seg.predict.engines import finish, made_by
from kidney_seg.predict.predictor import Watch
from kidney_seg.serving.client import RetryPolicy, Transport, fetch_contract, progress_bar, segment

if TYPE_CHECKING:
    import numpy as np

    from data_prep.geometry.volume import Volume

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


@dataclass(frozen=True)
class ServedJob:
    """How scans are segmented by a model on a server; used as a `Job` is.

    contract: of the model. settings: of the post-processing, whose rule runs here.
    """

    transport: Transport
    contract: Contract
    settings: PredictionConfig
    policy: RetryPolicy
    concurrent_requests: int = 4
    engine: str = "server"

    @property
    def made_by(self) -> dict[str, Any]:
        """What the labels depend on besides the image: the same as of `kidney_seg.predict` with this model."""
        models = (self.contract.model_sha256, *self.contract.ensemble_sha256)
        return made_by(models, self.contract.grid, self.settings)

    @property
    def origin(self) -> dict[str, Any]:
        """What a prediction's record says of the models' origin."""
        record: dict[str, Any] = {"trained_on": list(self.contract.trained_on)}
        record["origin"] = [asdict(origin) for origin in self.contract.origin]
        return record | ({"model": asdict(self.contract.about)} if self.contract.about else {})

    @property
    def described(self) -> str:
        """What the models were trained on, in one line."""
        return printable("; ".join(self.contract.trained_on) or UNSTATED.trained)

    def segment(
        self, volume: Volume, with_percent: bool = False, watch: Watch = iter
    ) -> tuple[np.ndarray, None, dict[str, Any]]:
        """Return labels uint8 [z, y, x] and their description; a server gives no probabilities of whole scans.

        InputError if a request fails permanently, or if the server has another model now.
        """
        found, contract = segment(
            self.transport, volume.voxels, volume.spacing_mm, self.policy, self.concurrent_requests, watch
        )
        if contract.model_sha256 != self.contract.model_sha256:
            raise InputError(f"{self.transport.address}: the server changed its model meanwhile; run this again")
        labels, description = finish(found, volume, self.contract.grid, self.settings)
        return labels, None, description

    def __str__(self) -> str:
        """Return the line that a long command begins with."""
        begin = f"device: server {self.transport.address}; requests at once: {self.concurrent_requests}"
        return f"{begin}; model: SHA-256 {self.contract.model_sha256[:12]}; {self.described}"


def served_job(
    transport: Transport,
    settings: PredictionConfig | None = None,
    policy: RetryPolicy | None = None,
    concurrent_requests: int = 4,
    changes: Mapping[str, Any] | None = None,
) -> ServedJob:
    """Return the job of a model on a server; arguments and errors as for `segment_file`."""
    policy = policy or RetryPolicy()
    if settings is not None:
        _check_smoothing(replace(settings, **changes or {}))
    contract = fetch_contract(transport, policy)[0]
    wanted = replace(settings or contract.prediction, **changes or {})
    _check_smoothing(wanted)
    return ServedJob(transport, contract, wanted, policy, concurrent_requests)


def _check_smoothing(settings: PredictionConfig) -> None:
    if settings.smooth_z_mm:
        raise InputError(
            f"smooth_z_mm={settings.smooth_z_mm:g}: found smoothing along z, expected 0, because a server labels "
            "slices one by one; use python -m kidney_seg.predict, or --set smooth_z_mm=0 for labels without it",
            code="smoothing",
        )


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
    job = served_job(transport, settings, policy, concurrent_requests, changes)
    volume = read_volume(image, series)
    for note in volume.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"model: {job.described}")
    write_labels(job.segment(volume, watch=progress_bar)[0], volume.source, out)
