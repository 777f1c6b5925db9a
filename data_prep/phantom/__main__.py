"""Command line of `python -m data_prep.phantom`."""

from __future__ import annotations

import argparse
import sys

from data_prep.cache.manifest import read_manifest
from data_prep.cli import command
from data_prep.errors import InputError
from data_prep.parallel.tasks import check_jobs
from data_prep.phantom.cohort import Cohort, plan_cohort, plan_label_cohort
from data_prep.phantom.options import Variation

CASES, SIZE, SLICES = 40, 128, 32


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.phantom",
        description="Simulate patients in the KiTS layout (case_00000/imaging.nii.gz and segmentation.nii.gz), with "
        "simulated anatomy or around real label maps. Run the same command again to resume. "
        "See docs/howto/simulated_patients.md.",
        epilog="example: python -m data_prep.phantom --out sim --labels kits19/data --cases 40 --size 256 --hard",
    )
    add = parser.add_argument_group("cohort").add_argument
    add("--out", required=True, metavar="DIR", help="folder to write to: new, empty, or of the same cohort")
    add("--labels", metavar="DIR", help="real label maps: patients get their kidneys, tumors and names (default: none)")
    add("--looks", type=int, metavar="N", help="with --labels: appearances per label map, NAME_look0, ... (default: 1)")
    add("--without", metavar="CACHE", help="with --labels: exclude the patients of CACHE, such as those to be tested")
    add("--cases", type=int, metavar="N", help=f"patients (default: {CASES}); with --labels, label maps (default: all)")
    add("--seed", type=int, default=0, metavar="S", help="the same seed gives the same voxels (default: %(default)s)")
    add("--jobs", type=int, default=1, metavar="N", help="processes (default: %(default)s)")

    add = parser.add_argument_group("images").add_argument
    add("--size", type=int, metavar="N", help=f"pixels per side (default: {SIZE}; with --labels, the label maps' own)")
    add("--slices", type=int, metavar="N", help=f"slices per patient, not with --labels (default: {SLICES})")
    add("--thickness-mm", type=float, metavar="MM", help="of the slices; with --labels, slices are merged to it")
    add("--noise", type=float, metavar="HU", help="standard deviation of the noise (default: drawn per patient)")

    add = parser.add_argument_group("patients").add_argument
    add("--hard", action="store_true", help="contrast, sizes and distractors as varied as KiTS")
    add("--wild", action="store_true", help="domain randomization, for pretraining; not with --hard or --contrast")
    add(
        "--contrast",
        metavar="HU[:HU]",
        help="tumor darker than kidney by this, or a range (default: drawn per patient)",
    )
    for option, words in (
        ("--small", "whose tumor is at most a ball of 4 cm (34 mL) (default: as in KiTS)"),
        ("--single-kidney", "without the healthy kidney (default: 0)"),
        ("--second-phase", "whose image also holds a scan in another contrast phase, without labels (default: 0)"),
    ):
        default = None if option == "--small" else 0.0
        add(option, type=float, default=default, metavar="SHARE", help=f"share (0 to 1) of patients {words}")
    return parser


def _contrast(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, _, high = text.partition(":")
        return float(low), float(high or low)
    except ValueError:
        raise InputError(f"contrast {text}: expected a number of HU, or a range such as 60:100") from None


def _cohort(options: argparse.Namespace) -> Cohort:
    variation = Variation(
        contrast_hu=_contrast(options.contrast),
        small=options.small,
        noise_hu=options.noise,
        thickness_mm=options.thickness_mm,
        single_kidney=options.single_kidney,
        second_phase=options.second_phase,
        wild=options.wild,
    )
    if options.slices is not None and (options.labels or options.thickness_mm is not None):
        other = "--labels" if options.labels else "--thickness-mm"
        raise InputError(f"--slices {options.slices} and {other}: both determine the number of slices; leave out one")
    names = ("cases", "size", "looks") if options.labels else ("cases", "size", "slices")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    given |= {"seed": options.seed, "hard": options.hard, "variation": variation}
    if options.labels:
        without = {entry.patient for entry in read_manifest(options.without).entries} if options.without else ()
        return plan_label_cohort(options.out, options.labels, without=without, **given)
    if options.without is not None:
        raise InputError(f"--without {options.without}: only with --labels; leave it out")
    if options.looks is not None:
        raise InputError(f"--looks {options.looks}: only with --labels; use --cases for more patients")
    return plan_cohort(options.out, **given)


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """Run the command; see `python -m data_prep.phantom --help`."""
    check_jobs(options.jobs)
    cohort = _cohort(options)
    made = len(cohort.write_missing(options.jobs))
    total = len(cohort.folders)
    print(f"{options.out}: {total} simulated patients ({made} made, {total - made} kept)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
