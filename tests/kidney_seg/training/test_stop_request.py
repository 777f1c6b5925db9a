"""Signals: noted while a batch runs, heard at once otherwise, and handed back at the end."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from kidney_seg.training.stop_request import Stopped, stop_request


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_outside_of_a_batch_it_ends_at_once(number):
    with pytest.raises(Stopped, match=f"stopped by {number.name}") as caught, stop_request():
        os.kill(os.getpid(), number)
    assert caught.value.exit_code == 128 + number


def test_within_a_batch_the_first_is_noted_and_the_second_ends_it():
    with stop_request() as request:
        with request.noted_only():
            os.kill(os.getpid(), signal.SIGTERM)
            assert request.signal_number == signal.SIGTERM
            with pytest.raises(Stopped, match="SIGINT"):
                os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped):  # the batch is over
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.network
def test_keras_makes_no_error_of_its_own_of_it():
    import keras

    class Killed(keras.layers.Layer):
        def call(self, inputs):
            os.kill(os.getpid(), signal.SIGTERM)
            return inputs

    with pytest.raises(Stopped) as caught, stop_request():
        Killed()(keras.Input((2,)))
    assert (str(caught.value), caught.value.exit_code) == ("stopped by SIGTERM", 143)


def test_handlers_come_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_request():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_beside_the_main_thread_nothing_is_changed():
    found = []

    def work() -> None:
        with stop_request() as request:
            found.append((request.signal_number, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(None, signal.getsignal(signal.SIGTERM))]
