"""Nothing is written to the home folder, and no name is looked up, whatever command runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.dicom_files import random_hu, save_slices, slices_of

pytestmark = pytest.mark.system

TINY = (
    "size=32 width_factor=0.1 gates= multi_scale_input=false deep_supervision=false batch_size=4 starts=1 "
    "start_steps=1 steps=1 max_rounds=0 retries=0"
)
PATIENT = "patients/case_00000"
COMMANDS = f"""
data_prep.phantom --out patients --cases 6 --size 32 --slices 8
data_prep.download kits23 --out kits --cases 0 --mirror file:///patients --accept-license
data_prep.label_table itk-snap
data_prep.check patients
data_prep.dicom scan
data_prep.build patients --cache cache --size 32
data_prep.split cache
kidney_seg.model --set {TINY} --figure model.pdf
kidney_seg.progressive --data cache --out run --set {TINY}
kidney_seg.watch run
kidney_seg.report run
kidney_seg.compare run --figure compare.png
kidney_seg.threshold run --figure threshold.svg
kidney_seg.predict run {PATIENT}/imaging.nii.gz --out labels.nii.gz --engine onnx
kidney_seg.predict run {PATIENT}/imaging.nii.gz --out auto.nii.gz --engine auto
kidney_seg.predict starter {PATIENT}/imaging.nii.gz --out starter.nii.gz
kidney_seg.postprocess labels.nii.gz --out clean.nii.gz
kidney_seg.evaluate labels.nii.gz {PATIENT}/segmentation.nii.gz --out scores
kidney_seg.export run --format onnx --out model.onnx
kidney_seg.serving --check model.onnx --model run
"""
CODE = """
import contextlib, io, socket, sys
looked_up = []
socket.getaddrinfo = socket.gethostbyname = lambda name, *rest, **more: looked_up.append(name) or []
from kidney_seg.__main__ import COMMANDS, load_command
lines = [line.split() for line in open(sys.argv[1]).read().splitlines() if line]
expected = set(COMMANDS) - {"kidney_seg.app"}  # it runs until it is stopped; its own tests look at the home folder
assert {name for name, *_ in lines} == expected, expected ^ {name for name, *_ in lines}
for name, *words in lines:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = load_command(name).main(words)
    assert code in (0, 1), (name, code, out.getvalue()[-500:], err.getvalue()[-500:])
assert not looked_up, looked_up
"""


@pytest.mark.network
def test_every_command_leaves_the_home_folder_empty(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="no extra `onnx`")
    home, temporary, work = (tmp_path / name for name in ("home", "temporary", "work"))
    for folder in (home, temporary, work):
        folder.mkdir()
    save_slices(work / "scan", slices_of(random_hu(3, 8, 8)))
    (work / "commands").write_text(COMMANDS.replace("file:///", f"file://{work}/"))
    own = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "KERAS_HOME", "ORT_DISABLE_TELEMETRY")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment |= {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", CODE, "commands"]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(home.rglob("*")) and not list(temporary.rglob("*"))


@pytest.mark.parametrize("used", [(".cache", ".config"), (".cache",), ()])
def test_matplotlib_keeps_the_folders_that_the_user_has(tmp_path: Path, used: tuple[str, ...]) -> None:
    own = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR")
    environment = {name: value for name, value in os.environ.items() if name not in own} | {"HOME": str(tmp_path)}
    for name in used:
        (tmp_path / name / "matplotlib").mkdir(parents=True)
    code = "import os, kidney_seg, matplotlib; print(os.path.isdir(os.environ.get('MPLCONFIGDIR', '')))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{len(used) < 2}\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == list(used)
