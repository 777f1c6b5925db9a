"""Segment volumes with a served model: which slices go into which request, concurrent requests, retries.

The transports (`grpc_transport`, `rest_transport`) send the requests.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from data_prep.cli import progress
from data_prep.errors import InputError
from data_prep.files.json_files import parse_json
from kidney_seg.config.checks import check
from kidney_seg.export.contract import ABOUT, MAX_VOXELS, PNG, Contract, read_contract
from kidney_seg.export.slice_png import decode_labels, encode_slice, largest_bytes

MESSAGE_BYTES = 4_000_000  # of a message in either direction: gRPC's default limit is 4 MiB
LONGEST_S = 86_400  # of a request
SLICES = 32  # of a request: TF Serving refuses more than `max_batch_size` where it batches (compose.yaml)
_FRAME_BYTES = 10_000  # names and numbers around the slices of a message


class TransportError(Exception):
    """A failed request; `retriable`: the same request may succeed later."""

    def __init__(self, message: str, retriable: bool):
        super().__init__(message)
        self.retriable = retriable


class Transport(Protocol):
    """One model on one server, used by several threads at once."""

    address: str
    inflation: float  # bytes sent per byte of a slice

    def request(self, signature: str, inputs: Mapping[str, Any], timeout_s: float) -> dict[str, list[bytes]]:
        """Send one request: byte strings as lists, numbers as float64 arrays.

        TransportError if it fails, or if the answer is not whole after `timeout_s`, however much of it has come.
        """

    def close(self) -> None:
        """Close the connections."""


@dataclass(frozen=True)
class RetryPolicy:
    """Timeout of a whole request and number of retries; the waits between double, starting at `first_wait_s`."""

    timeout_s: float = 60.0
    retries: int = 4
    first_wait_s: float = 0.5

    def __post_init__(self) -> None:
        check(0 < self.timeout_s <= LONGEST_S, "timeout", self.timeout_s, f"seconds above 0, up to {LONGEST_S}")
        check(self.retries >= 0, "retries", self.retries, "0 or more")


def request_with_retries(
    transport: Transport,
    signature: str,
    inputs: Mapping[str, Any],
    policy: RetryPolicy,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, list[bytes]]:
    """Send a request, again if it may succeed later; InputError, in one line, if it fails permanently."""
    for attempt in range(policy.retries + 1):
        try:
            return transport.request(signature, inputs, policy.timeout_s)
        except TransportError as error:
            reason = " ".join(str(error).split())[:400]
            if not error.retriable:
                raise InputError(f"{transport.address}: {reason}") from None
            if attempt == policy.retries:
                tried = f"{attempt + 1} times" if attempt else "once"
                raise InputError(
                    f"{transport.address}: {reason}; tried {tried}; nothing was written; is the server running, and "
                    "does it serve this model?"
                ) from None
        sleep(policy.first_wait_s * 2**attempt * random.uniform(0.5, 1.0))  # so that clients do not retry in step
    raise AssertionError("unreachable")


def fetch_contract(transport: Transport, policy: RetryPolicy) -> tuple[Contract, Any]:
    """Return the contract of the served model, parsed and as JSON; InputError if the model has none."""
    where = f"{transport.address}: the model"
    answer = request_with_retries(transport, ABOUT, {"ask": [b""]}, policy)
    try:
        content = parse_json(answer["contract_bytes"][0])
    except (KeyError, IndexError, ValueError) as error:
        raise InputError(f"{where}: sends no contract ({error!r}); was it exported by kidney_seg?") from None
    return read_contract(content, where), content


@dataclass(frozen=True)
class Request:
    """Slices `first` to `last` (exclusive) are wanted; `start` to `end` are sent: these and their neighbors."""

    first: int
    last: int
    start: int
    end: int


def plan_requests(slices: int, per_request: int, margin: int) -> list[Request]:
    """Divide a scan into requests of at most `per_request` slices, including `margin` neighbors on either side.

    >>> plan_requests(5, 4, 1)
    [Request(first=0, last=2, start=0, end=3), Request(first=2, last=4, start=1, end=5), \
Request(first=4, last=5, start=3, end=5)]
    """
    wanted = per_request - 2 * margin
    if wanted < 1:
        raise ValueError(f"{per_request} slices per request leave none with {margin} neighbors on either side")
    return [
        Request(first, min(first + wanted, slices), max(0, first - margin), min(slices, first + wanted + margin))
        for first in range(0, slices, wanted)
    ]


def slices_per_request(shape_yx: tuple[int, int], inflation: float) -> int:
    """Return how many slices of a shape fit into a request: into a message in both directions, whatever their content.

    At most 32, which is the largest batch of a server that batches.
    """
    room = MESSAGE_BYTES - _FRAME_BYTES
    sent, received = (inflation * largest_bytes(shape_yx, bits) for bits in (16, 8))
    return int(min(SLICES, room // sent, room // received, MAX_VOXELS // (shape_yx[0] * shape_yx[1])))


def progress_bar(requests: Sequence[int]) -> Iterable[int]:
    """Yield the numbers of requests with a progress bar."""
    return progress(requests, "requests")


def segment(
    transport: Transport,
    voxels: np.ndarray,
    spacing_mm: tuple[float, float, float],
    policy: RetryPolicy | None = None,
    concurrent_requests: int = 4,
    watch: Callable[[Sequence[int]], Iterable[int]] = progress_bar,
) -> tuple[np.ndarray, Contract]:
    """Return a volume's labels, uint8 [z, y, x], without post-processing, and the contract of the model.

    voxels: int16 HU [z, y, x] in axial order. watch: yields the numbers that it is given, one per answer. InputError,
    in one line, if a request fails permanently, or if the server changes its model before the last one.
    """
    check(concurrent_requests >= 1, "in flight", concurrent_requests, "at least 1 request at a time")
    policy = policy or RetryPolicy()
    contract, content = fetch_contract(transport, policy)
    shape_yx, margin = voxels.shape[1:], contract.input_slices // 2
    most = slices_per_request(shape_yx, transport.inflation)
    if most < 1 + 2 * margin:
        raise InputError(
            f"slices of {shape_yx[0]} x {shape_yx[1]}: {1 + 2 * margin} of them exceed a message of {MESSAGE_BYTES} "
            "bytes; use kidney_seg.predict for this scan"
        )
    labels = np.zeros(voxels.shape, np.uint8)

    def fill(request: Request) -> None:
        files = [encode_slice(plane) for plane in voxels[request.start : request.end]]
        spacing = np.tile(np.array(spacing_mm[1:], np.float64), (len(files), 1))
        answer = request_with_retries(transport, PNG, {"slices": files, "spacing_mm": spacing}, policy)
        try:
            planes = [decode_labels(file, shape_yx) for file in answer["labels_bytes"]]
        except (KeyError, ValueError) as error:
            raise InputError(f"{transport.address}: not the answer of a kidney_seg model ({error})") from None
        if len(planes) != len(files):
            raise InputError(f"{transport.address}: returned {len(planes)} slices of {len(files)}; run this again")
        labels[request.first : request.last] = planes[request.first - request.start : request.last - request.start]

    with ThreadPoolExecutor(concurrent_requests) as pool:
        waiting = [pool.submit(fill, request) for request in plan_requests(len(voxels), most, margin)]
        try:
            answered = as_completed(waiting)
            for _ in watch(range(len(waiting))):
                next(answered).result()
        finally:
            for one in waiting:
                one.cancel()
    if fetch_contract(transport, policy)[1] != content:
        raise InputError(f"{transport.address}: the server changed its model in the meantime; run this again")
    return labels, contract
