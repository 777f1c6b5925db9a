"""Whole volumes through a server: what to send when, several requests at a time, again if need be.

How a request travels is the transports' (`serving_grpc`, `serving_rest`); here are slices and labels.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from data_prep.cli import progress
from data_prep.errors import InputError
from kidney_seg.config.validation import check
from kidney_seg.export.contract import ABOUT, MAX_VOXELS, PNG, Contract, read_contract
from kidney_seg.export.slice_png import decode_labels, encode_slice, largest_bytes

MESSAGE_BYTES = 4_000_000  # of any message, either way: gRPC refuses more than 4 MiB unless both sides are told
_FRAME_BYTES = 10_000  # names and numbers around the slices of a message


class ServerTrouble(Exception):
    """A request that failed; `retriable`: the same request may well succeed in a moment."""

    def __init__(self, message: str, retriable: bool):
        super().__init__(message)
        self.retriable = retriable


class Transport(Protocol):
    """One model on one server. Used by several threads at a time."""

    address: str
    inflation: float  # bytes on the line for one byte of a slice

    def ask(self, signature: str, inputs: Mapping[str, Any], timeout_s: float) -> dict[str, list[bytes]]:
        """Send one request: byte strings as lists, numbers as float64 arrays. ServerTrouble if it fails."""

    def close(self) -> None:
        """End the connections."""


@dataclass(frozen=True)
class Patience:
    """How long a request may take, and how often a failed one is sent again: waits double from `first_wait_s` on."""

    timeout_s: float = 60.0
    retries: int = 4
    first_wait_s: float = 0.5

    def __post_init__(self) -> None:
        check(self.timeout_s > 0, "timeout", self.timeout_s, "seconds above 0")
        check(self.retries >= 0, "retries", self.retries, "0 or more")


def ask(
    transport: Transport,
    signature: str,
    inputs: Mapping[str, Any],
    patience: Patience,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, list[bytes]]:
    """Send a request, again where that may help. InputError, in one line, where it does not."""
    for attempt in range(patience.retries + 1):
        try:
            return transport.ask(signature, inputs, patience.timeout_s)
        except ServerTrouble as trouble:
            if not trouble.retriable:
                raise InputError(f"{transport.address}: {_one_line(trouble)}") from None
            if attempt == patience.retries:
                tried = f"{attempt + 1} times" if attempt else "once"
                raise InputError(
                    f"{transport.address}: {_one_line(trouble)}; tried {tried}; nothing was written; is the server "
                    "up, and does it serve this model?"
                ) from None
        sleep(patience.first_wait_s * 2**attempt * random.uniform(0.5, 1.0))  # not all clients at the same moment
    raise AssertionError("unreachable")


def fetch_contract(transport: Transport, patience: Patience) -> tuple[Contract, Any]:
    """Ask the server for the model's contract; returns it, and as it came. InputError if the model has none."""
    where = f"{transport.address}: the model"
    answer = ask(transport, ABOUT, {"ask": [b""]}, patience)
    try:
        content = json.loads(answer["contract_bytes"][0])
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(f"{where}: does not tell its contract ({error!r}); was it exported by kidney_seg?") from None
    return read_contract(content, where), content


@dataclass(frozen=True)
class Request:
    """Slices `first` up to, without, `last` are wanted; `start` to `end` are sent: theirs and their neighbors."""

    first: int
    last: int
    start: int
    end: int


def plan_requests(slices: int, per_request: int, margin: int) -> list[Request]:
    """Divide a scan into requests of at most `per_request` slices, `margin` neighbors on either side included.

    >>> plan_requests(5, 4, 1)
    [Request(first=0, last=2, start=0, end=3), Request(first=2, last=4, start=1, end=5), \
Request(first=4, last=5, start=3, end=5)]
    """
    wanted = per_request - 2 * margin
    if wanted < 1:
        raise ValueError(f"{per_request} slices a request leave none with {margin} neighbors on either side")
    firsts = range(0, slices, wanted)
    return [
        Request(first, min(first + wanted, slices), max(0, first - margin), min(slices, first + wanted + margin))
        for first in firsts
    ]


def slices_per_request(shape_yx: tuple[int, int], inflation: float) -> int:
    """Return how many slices of a shape fit into a message, whatever is in them, on the way there and back."""
    room = MESSAGE_BYTES - _FRAME_BYTES
    there, back = (inflation * largest_bytes(shape_yx, bits) for bits in (16, 8))
    return int(min(room // there, room // back, MAX_VOXELS // (shape_yx[0] * shape_yx[1])))


def segment(
    transport: Transport,
    voxels: np.ndarray,
    spacing_mm: tuple[float, float, float],
    patience: Patience | None = None,
    in_flight: int = 4,
) -> tuple[np.ndarray, Contract]:
    """Return a volume's labels, uint8 [z, y, x], before the paper's rule, and the contract of the model that gave them.

    voxels: int16 HU [z, y, x] in axial order, spacing (z, y, x). At most `in_flight` requests are under way at a time.
    InputError, in one line, if a request fails for good, or if the server changed its model in between.
    """
    check(in_flight >= 1, "in flight", in_flight, "at least 1 request at a time")
    patience = patience or Patience()
    promise, content = fetch_contract(transport, patience)
    shape_yx, margin = voxels.shape[1:], promise.input_slices // 2
    most = slices_per_request(shape_yx, transport.inflation)
    if most < 1 + 2 * margin:
        raise InputError(
            f"slices of {shape_yx[0]} x {shape_yx[1]}: {1 + 2 * margin} of them are more than a message of "
            f"{MESSAGE_BYTES} bytes; use kidney_seg.predict for this scan"
        )
    labels = np.zeros(voxels.shape, np.uint8)

    def serve(request: Request) -> None:
        files = [encode_slice(plane) for plane in voxels[request.start : request.end]]
        spacing = np.tile(np.array(spacing_mm[1:], np.float64), (len(files), 1))
        made = ask(transport, PNG, {"slices": files, "spacing_mm": spacing}, patience)
        try:
            planes = [decode_labels(file, shape_yx) for file in made["labels_bytes"]]
        except (KeyError, ValueError) as error:
            raise InputError(f"{transport.address}: not the answer of a kidney_seg model ({error})") from None
        if len(planes) != len(files):
            raise InputError(f"{transport.address}: {len(planes)} slices came back of {len(files)}; run this again")
        for place in range(request.first, request.last):
            labels[place] = planes[place - request.start]

    with ThreadPoolExecutor(in_flight) as pool:
        waiting = [pool.submit(serve, request) for request in plan_requests(len(voxels), most, margin)]
        try:
            for done in progress(as_completed(waiting), "requests", total=len(waiting)):
                done.result()
        finally:
            for one in waiting:
                one.cancel()
    if fetch_contract(transport, patience)[1] != content:
        raise InputError(f"{transport.address}: the server changed its model meanwhile; run this again")
    return labels, promise


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:400]
