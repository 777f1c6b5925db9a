"""Simulated patients in the KiTS layout: data to learn from where there are no real ones, and the demo's.

`python -m data_prep.phantom --out DIR` writes a cohort; with `--labels DIR`, around real label maps. Every patient
follows from (seed, index) and the settings. See docs/howto/simulated_patients.md.
"""

from __future__ import annotations

import argparse
import sys

from data_prep.cache.manifest import read_manifest
from data_prep.cli import command
from data_prep.errors import InputError
from data_prep.phantom.cohort import Cohort, plan_cohort, plan_label_cohort
from data_prep.phantom.options import Variation

CASES, SIZE, SLICES = 40, 128, 32


def make_parser() -> argparse.ArgumentParser:
    """Return the options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.phantom",
        description="Write a cohort of simulated patients in the KiTS layout (case_00000/imaging.nii.gz and"
        " segmentation.nii.gz). The same command again goes on with what is missing.",
    )
    cohort = parser.add_argument_group("cohort")
    add = cohort.add_argument
    add("--out", required=True, metavar="DIR", help="folder to write to: new, empty, or the same cohort")
    add(
        "--labels",
        metavar="DIR",
        help="real label maps, case_NNNNN/segmentation.nii.gz: their kidneys and tumors, under their names"
        " (default: anatomy is simulated, too)",
    )
    add(
        "--looks",
        type=int,
        metavar="N",
        help="with --labels: N patients around each map, case_00000_look0 and so on, one patient to a split"
        " (default: one, under the map's name)",
    )
    add(
        "--without",
        metavar="CACHE",
        help="with --labels: leave out the label maps of the patients in this cache, on whom a network is to be tested",
    )
    add(
        "--cases",
        type=int,
        metavar="N",
        help=f"number of patients (default: {CASES}); with --labels, of maps (default: all)",
    )
    add("--seed", type=int, default=0, metavar="S", help="the same seed gives the same voxels (default: %(default)s)")
    add("--jobs", type=int, default=1, metavar="N", help="processes (default: %(default)s)")

    images = parser.add_argument_group("images")
    add = images.add_argument
    add("--size", type=int, metavar="PX", help=f"pixels a side (default: {SIZE}; with --labels, the maps' own)")
    add("--slices", type=int, metavar="N", help=f"slices a patient, not with --labels (default: {SLICES})")
    add("--thickness-mm", type=float, metavar="MM", help="slices this thick; with --labels, slices are merged to it")
    add("--noise", type=float, metavar="HU", help="standard deviation of the noise (default: drawn for each patient)")

    patients = parser.add_argument_group("patients")
    add = patients.add_argument
    add("--hard", action="store_true", help="contrast, sizes and distractors as hard as KiTS")
    add(
        "--wild",
        action="store_true",
        help="looks drawn far more widely than scanners vary, for pretraining: any amount of contrast agent or none,"
        " tissues in any order of brightness, any noise and sharpness; instead of --hard, not with --contrast",
    )
    add(
        "--contrast",
        metavar="HU[:HU]",
        help="tumor darker than the kidney by this, or from a range (default: drawn, for some patients little)",
    )
    add("--small", type=float, metavar="SHARE", help="share of patients whose tumor is a ball of 4 cm or less (34 mL)")
    add("--single-kidney", type=float, default=0.0, metavar="SHARE", help="share without the healthy kidney")
    add("--horseshoe", type=float, default=0.0, metavar="SHARE", help="share whose kidneys are joined below")
    add(
        "--second-phase",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share whose image goes on with a scan in another contrast phase, not labelled",
    )
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
        horseshoe=options.horseshoe,
        second_phase=options.second_phase,
        wild=options.wild,
    )
    if options.slices is not None and (options.labels or options.thickness_mm is not None):
        other = "--labels" if options.labels else "--thickness-mm"
        raise InputError(f"--slices {options.slices} and {other}: that says how many slices there are; leave out one")
    if options.labels:
        looks = 1 if options.looks is None else options.looks
        without = {entry.patient for entry in read_manifest(options.without).entries} if options.without else ()
        return plan_label_cohort(
            options.out,
            options.labels,
            options.cases,
            options.size,
            options.seed,
            options.hard,
            variation,
            looks,
            without,
        )
    if options.without is not None:
        raise InputError(f"--without {options.without}: without --labels no patient is a real one; leave it out")
    if options.looks is not None:
        raise InputError(f"--looks {options.looks}: without --labels every patient looks its own way; use --cases")
    given = {"cases": options.cases, "size": options.size, "slices": options.slices}
    given = {name: value for name, value in given.items() if value is not None}
    return plan_cohort(options.out, seed=options.seed, hard=options.hard, variation=variation, **given)


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    """Write a simulated cohort; see `--help`."""
    if options.jobs < 1:
        raise InputError(f"jobs {options.jobs}: expected 1 or more")
    cohort = _cohort(options)
    missing = cohort.missing()
    cohort.write(missing, options.jobs)
    made = f"{len(missing)} made, {len(cohort.folders) - len(missing)} there already"
    print(f"{options.out}: {len(cohort.folders)} simulated patients ({made if missing else 'all there already'})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
