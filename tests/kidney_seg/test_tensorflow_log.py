"""What a user sees of TensorFlow's start."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = (
    "from kidney_seg.tensorflow_log import quiet_tensorflow; quiet_tensorflow()\n"
    "import sys; print('mine', file=sys.stderr)"
)


def run(environment: dict[str, str]) -> str:
    return subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True).stderr


def test_only_our_own_lines_are_seen():
    plain = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    assert run(plain) == "mine\n"


def test_a_level_that_the_user_set_is_left_alone():
    # nothing is imported here, so nothing is turned away later either
    assert run(os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0"}) == "mine\n"
