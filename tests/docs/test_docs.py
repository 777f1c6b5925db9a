"""The commands of README, tutorial and first pages run, and commands, options and names in all docs exist."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import griffe
import pytest
from support.dicom_files import random_hu, save_slices, slices_of
from support.helpers import SMALLEST

from data_prep.phantom.cohort import write_cohort
from kidney_seg.__main__ import COMMANDS, load_command, main
from kidney_seg.config.presets import PRESETS
from kidney_seg.weights import STARTER_FILE

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md"))]
# one network and loss for all presets, so that its step is traced once
TINY = (
    "size=32 width_factor=0.25 decoder=inline batch_norm_momentum=0.9 cross_entropy=0.5 coarse_targets=strided"
    " peak_rate=0.01 starts=1 start_steps=60 max_rounds=0 retries=0"
).split() + list(SMALLEST)
FEWER = ["start_steps=4"]  # where the result does not matter


def blocks(text: str, language: str = "sh") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[list[str]]:
    """Return the lines of a block as words, with continued lines joined, without comments."""
    return [words for line in block.replace("\\\n", " ").splitlines() if (words := shlex.split(line, comments=True))]


README = (ROOT / "README.md").read_text(encoding="utf-8")
PLAYED = {  # pages whose commands run
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md",
        "docs/howto/install.md",
        "docs/howto/gpu.md",
        "docs/howto/own_data.md",
        "docs/howto/few_patients.md",
        "docs/reference/run_folder.md",
        "docs/reference/settings.md",
    )
}
TRAINED = next(block for block in blocks(README) if "--data CACHE --out RUN" in block)  # RUN, which all others use
BLOCKS = [
    pytest.param(block, id=f"{Path(name).stem}-{number}")
    for name, text in PLAYED.items()
    for number, block in enumerate(blocks(text))
    if block != TRAINED
]
SERVERS = {"HOST:8500", "127.0.0.1:8500"}
INLINE = sorted(
    {
        tuple(shlex.split(found))
        for text in PLAYED.values()
        for found in re.findall(r"`(python -m [^`]+)`", text.replace("\n", " "))
    }
)
# the changelog also names what no longer exists
NAMING = [page for page in TEXTS if page.name != "CHANGELOG.md"]


def play(words: list[str], server: str = "", steps: list[str] = FEWER) -> None:
    """Run one command in the current folder with tiny settings; what needs a person or a host is only checked."""
    if "make" in words[:2]:
        words = words[words.index("make") :]
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    if words[0] == "python3":
        assert words[1:3] == ["-m", "venv"] and len(words) == 4
        return
    if words[0] == ".":
        assert words[1].endswith("/bin/activate")
        return
    if words[0] == "pip":
        what = words[2:]
        if extra := re.fullmatch(r"(?:kidney_seg|\.)\[(\w+)\]", words[-1]):
            assert re.search(rf"^{extra[1]} =$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
        else:
            exact = ["--require-hashes", "--no-deps", "-r", "requirements.txt"]
            assert what in (["."], exact, ["--no-deps", "-e", "."]) and (ROOT / what[-1]).exists()
        return
    if words[:2] == ["python", "-c"]:
        exec(words[2], {})
        return
    if words[0] == "docker":  # the image is the one of compose.yaml
        image, tag = words[-1].split(":")
        assert f"{image}:${{TAG:-{tag}}}" in (ROOT / "compose.yaml").read_text(encoding="utf-8")
        return
    if words[0] == "jupyter":
        assert list((ROOT / words[2]).glob("*.ipynb"))
        return
    if words[0] == "tensorboard":
        assert list(Path(words[2]).iterdir())
        return
    assert words[:2] == ["python", "-m"], words
    module = "kidney_seg.__main__" if words[2] == "kidney_seg" else words[2]
    arguments = [server if word in SERVERS else word for word in words[3:]]
    if module == "kidney_seg.app":  # it runs until it is stopped
        load_command(module).make_parser().parse_args(arguments)
        return
    if module == "data_prep.build":
        arguments += ["--size", "32", "--pixel-mm", "9", "--rebuild"]
    if module == "data_prep.phantom":
        arguments += ["--cases", "3" if "--labels" in arguments else "8", "--size", "32"]
    if module == "data_prep.check":
        assert load_command(module).main(arguments) in (0, 1)  # small phantoms are not whole scans
        return
    if module == "kidney_seg.progressive":
        # 1: all starts collapsed, which happens in 60 steps; the command itself worked
        assert load_command(module).main(_short(arguments, steps)) in (0, 1), " ".join(words)
        return
    assert load_command(module).main(arguments) == 0, " ".join(words)


def _short(arguments: list[str], steps: list[str]) -> list[str]:
    """Return the words of a training that takes seconds; the demo only shows its settings.

    The tiny settings come last and override those of the command. A reproduced run has the settings of its manifest.
    """
    if "--reproduce" in arguments:
        return arguments
    fewer = ["--seeds", "2"] if "--seeds" in arguments else []
    return [*arguments, *fewer, *(["--set", *TINY, *steps] if "--data" in arguments else ["--show-settings"])]


def _in_a_study(data, index) -> None:
    """Set the attributes of a slice that a DICOM Segmentation refers to."""
    data.FrameOfReferenceUID = "1.2.3.4"
    data.SeriesNumber = 4
    data.StudyInstanceUID = "1.2.3.9"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with all inputs of the pages under their names, in which RUN is trained."""
    root = tmp_path_factory.mktemp("pages")
    cases = write_cohort(root / "KITS", cases=8, size=32, slices=8)
    shutil.copytree(root / "KITS", root / "SLICES")
    for case in cases[:3]:  # label maps of other patients than the slices
        shutil.copytree(case, root / "LABELS" / f"case_001{case.name[-2:]}")
    for name in ("DIR/imagesTr", "DIR/labelsTr", "IN"):
        (root / name).mkdir(parents=True)
    for case in cases:
        shutil.copy(case / "imaging.nii.gz", root / "DIR" / "imagesTr" / f"{case.name}_0000.nii.gz")
        shutil.copy(case / "segmentation.nii.gz", root / "DIR" / "labelsTr" / f"{case.name}.nii.gz")
        shutil.copy(case / "segmentation.nii.gz", root / "IN" / f"{case.name}.nii.gz")
    shutil.copy(cases[0] / "imaging.nii.gz", root / "scan.nii.gz")
    for name, slices in (("first", 7), ("second", 6)):  # `--series 2` is the one with fewer slices
        series = slices_of(random_hu(slices), uid=f"1.2.3.{slices}", change=_in_a_study)
        save_slices(root / "FOLDER", series, name)
    (root / "LIST").write_text("scan.nii.gz\nFOLDER\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for words in commands(TRAINED):
            play(words, steps=[])
    return root


@pytest.fixture
def here(folder, tmp_path, monkeypatch):
    """A copy of the folder, as current folder; RUN takes the place of the model that ships if a checkout lacks it."""
    shutil.copytree(folder, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    if not STARTER_FILE.exists():
        monkeypatch.setattr("kidney_seg.model.model_file.STARTER_FILE", folder / "RUN" / "best.keras")
    return tmp_path / "here"


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_every_command_of_the_first_pages(block, here):
    for path in here.glob("labels.*"):  # written with RUN
        path.unlink()
    running, address = None, ""
    for words in commands(block):  # trains again what is trained
        if words[2:3] == ["kidney_seg.progressive"] and "--out" in words:
            shutil.rmtree(here / words[words.index("--out") + 1], ignore_errors=True)
    for words in commands(block):
        if SERVERS & {*words} and running is None:
            from benchmarks.serving.stand_in import Servable, serve_grpc

            running, port = serve_grpc(Servable(here / "models" / "kidney_seg" / "1"))
            address = f"127.0.0.1:{port}"
        play(words, address)
    if running is not None:
        running.stop(0).wait()


@pytest.mark.slow
def test_python_of_the_readme(here):
    for block in blocks(README, "python"):
        exec(block, {})
    assert (here / "found.nii.gz").is_file()


@pytest.mark.slow
def test_python_of_the_reference(tmp_path, monkeypatch):
    smaller = {**PRESETS, "demo": PRESETS["demo"].with_settings(SMALLEST)}  # sooner traced
    monkeypatch.setattr("kidney_seg.config.PRESETS", smaller)
    shutil.copytree(ROOT / "tests" / "made_by_0_1" / "case_00002", tmp_path / "scan")
    (tmp_path / "scan.nii.gz").symlink_to(tmp_path / "scan" / "imaging.nii.gz")
    monkeypatch.chdir(tmp_path)
    for block in blocks((ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8"), "python"):
        exec(block, {})
    assert (tmp_path / "run" / "report.html").is_file() and len(list((tmp_path / "predictions").glob("*.json"))) == 2


@pytest.mark.slow
@pytest.mark.parametrize("words", INLINE, ids=lambda words: "_".join(words[2:]))
def test_commands_within_sentences_of_the_first_pages(words, here):
    play(list(words))


@pytest.mark.slow
def test_the_tutorial_from_its_first_line_to_its_last(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "tutorial" / "tutorial.md").read_text(encoding="utf-8")
    played = [words for block in blocks(text, "") for words in commands(block)]
    for words in played:
        play(words)
    ran = [words[2] for words in played if words[:2] == ["python", "-m"]]
    assert len(ran) == text.count("\npython -m ") and "kidney_seg.evaluate" in ran
    for name in ("run/report.html", "labels.nii.gz", "labels.json"):  # named in its text
        assert f"`{name}`" in text and Path(name).is_file()


def documented() -> list[tuple[str, ...]]:
    """Return the project's commands in all texts, as words, each once."""
    found = []
    for page in TEXTS:
        text = re.sub(r"^   ", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)  # in lists
        for block in blocks(text, "(?:sh)?"):
            for line in block.replace("\\\n", " ").splitlines():
                if re.match(r"python -m (data_prep|kidney_seg)", line) and "[--" not in line and "..." not in line:
                    found.append(tuple(shlex.split(line, comments=True)))
    return sorted(set(found))


@pytest.mark.parametrize("words", documented(), ids=lambda words: "_".join(words[2:]))
def test_options_of_documented_commands_exist(words, monkeypatch):
    if words[2] == "kidney_seg":
        assert main(list(words[3:])) == 0
        return
    module = load_command(words[2])
    monkeypatch.setattr("data_prep.cli.run_command", lambda body: 0)  # options are parsed, nothing runs
    assert module.main(list(words[3:])) == 0


@pytest.fixture(scope="module")
def packages():
    """The names of both packages, read from source, since importing them loads TensorFlow."""
    loader = griffe.GriffeLoader(search_paths=[ROOT])
    for name in ("kidney_seg", "data_prep"):
        loader.load(name)
    return loader.modules_collection


@pytest.mark.parametrize("page", NAMING, ids=lambda page: page.name)
def test_names_and_paths_in_texts_exist(page, packages):
    spans = re.findall(r"`([^`\n]+)`|^::: (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    text = "\n".join(a or b for a, b in spans)
    for name in set(re.findall(r"(?<![\w./-])(?:kidney_seg|data_prep)(?:\.[a-zA-Z_]\w*)+", text)):
        found = packages[name]  # KeyError if it does not exist
        assert not found.is_alias or found.final_target
    paths = re.findall(r"(?<![\w./-])(?:kidney_seg|data_prep|tests|benchmarks)/[\w/]*(?:\.\w+)?(?![\w<])", text)
    assert [path for path in set(paths) if not (ROOT / path).exists()] == []


def test_commands_are_listed(capsys):
    made = set()
    for package in ("kidney_seg", "data_prep"):
        for path in (ROOT / package).rglob("*.py"):
            if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8"):
                parts = path.relative_to(ROOT).with_suffix("").parts
                made.add(".".join(parts[:-1] if parts[-1] == "__main__" else parts))
    made.remove("kidney_seg")
    assert made == set(COMMANDS)
    assert main([]) == 0
    shown = capsys.readouterr().out
    page = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    for name, what in COMMANDS.items():
        assert f"python -m {name}" in shown and what in shown
        assert f"| `{name}` | {what} |" in page
    assert main(["predcit"]) == 2
    assert "did you mean 'predict'?" in capsys.readouterr().err
