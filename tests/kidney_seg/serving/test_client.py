"""What the client does by itself: slices into requests, requests again, slices and labels as PNG."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.helpers import one_line

from data_prep.errors import InputError
from kidney_seg.export.slice_png import decode_labels, encode_slice, largest_bytes
from kidney_seg.serving.client import (
    MESSAGE_BYTES,
    SLICES,
    RetryPolicy,
    TransportError,
    plan_requests,
    request_with_retries,
    slices_per_request,
)
from kidney_seg.serving.volumes import connect


@given(st.integers(0, 40), st.integers(0, 3), st.integers(1, 9))
def test_every_slice_is_asked_for_once_with_its_neighbors(slices, margin, wanted):
    plan = plan_requests(slices, wanted + 2 * margin, margin)
    assert [place for one in plan for place in range(one.first, one.last)] == list(range(slices))
    for one in plan:
        assert one.end - one.start <= wanted + 2 * margin
        assert one.start == max(0, one.first - margin) and one.end == min(slices, one.last + margin)


def test_too_few_slices_a_request_for_the_neighbors():
    with pytest.raises(ValueError, match="leave none"):
        plan_requests(5, 2, 1)


@pytest.mark.parametrize("shape", [(512, 512), (512, 796), (64, 64), (1, 5)])
@pytest.mark.parametrize("inflation", [1.01, 4 / 3 + 0.01])
def test_messages_of_noise_stay_below_the_limit(shape, inflation):
    rng = np.random.default_rng(0)
    noise = encode_slice(rng.integers(-32768, 32768, shape).astype(np.int16))
    assert len(noise) <= largest_bytes(shape, 16)
    count = slices_per_request(shape, inflation)
    assert 1 <= count <= SLICES and count * len(noise) * inflation < MESSAGE_BYTES
    labels = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(labels, "png", compress_level=1)
    assert len(labels.getvalue()) <= largest_bytes(shape, 8)


def test_slices_and_labels_survive():
    hu = np.array([[-32768, -1024, -1], [0, 1, 32767]], np.int16)
    with Image.open(io.BytesIO(encode_slice(hu))) as image:
        np.testing.assert_array_equal(np.array(image).astype(int) - 32768, hu)
    labels = np.array([[0, 1], [2, 0], [1, 1]], np.uint8)
    file = io.BytesIO()
    Image.fromarray(labels).save(file, "png")
    np.testing.assert_array_equal(decode_labels(file.getvalue(), (3, 2)), labels)
    for wrong, shape in ((file.getvalue(), (2, 3)), (file.getvalue()[:40], (3, 2)), (encode_slice(hu), (2, 3))):
        with pytest.raises(ValueError):
            decode_labels(wrong, shape)


class Flaky:
    """A transport that fails some times before it answers."""

    address, inflation = "somewhere:1", 1.0

    def __init__(self, failures, retriable=True):
        self.failures, self.retriable, self.asked = failures, retriable, 0

    def request(self, signature, inputs, timeout_s):
        self.asked += 1
        if self.asked <= self.failures:
            raise TransportError("UNAVAILABLE: not\nnow", self.retriable)
        return {"answer": [b"yes"]}


def test_again_with_longer_and_longer_waits():
    waits = []
    assert request_with_retries(Flaky(3), "png", {}, RetryPolicy(retries=3, first_wait_s=1.0), waits.append) == {
        "answer": [b"yes"]
    }
    assert len(waits) == 3
    for wait, longest in zip(waits, (1, 2, 4), strict=True):
        assert longest / 2 <= wait <= longest


@pytest.mark.parametrize(
    ("retriable", "asked", "words"), [(True, 3, "tried 3 times"), (False, 1, "UNAVAILABLE: not now")]
)
def test_in_the_end_one_line(retriable, asked, words):
    server = Flaky(99, retriable)
    with pytest.raises(InputError) as caught:
        request_with_retries(server, "png", {}, RetryPolicy(retries=2), lambda _: None)
    assert words in one_line(caught) and "somewhere:1" in one_line(caught)
    assert server.asked == asked


@pytest.mark.parametrize("server", ["host", "ftp://host:1", "host:", ":8500", "http://host", "host:port"])
def test_addresses_that_are_none(server):
    with pytest.raises(InputError) as caught:
        connect(server)
    assert server in one_line(caught) and "HOST:PORT" in one_line(caught)


@pytest.mark.parametrize("setting", [{"timeout_s": 0.0}, {"retries": -1}])
def test_retry_policy_is_checked(setting):
    with pytest.raises(InputError):
        RetryPolicy(**setting)
