"""What is silenced in several threads at once is heard again afterwards."""

from __future__ import annotations

import logging
import warnings

from data_prep.files.quiet import silent


def test_blocks_that_overlap_restore_what_was_before() -> None:
    logger = logging.getLogger("pydicom")
    level, filters = logger.level, list(warnings.filters)
    first, second = silent(), silent()
    first.__enter__()
    assert logger.level > logging.CRITICAL and list(warnings.filters) != filters
    second.__enter__()
    first.__exit__(None, None, None)  # as threads do, whose blocks end in any order
    assert logger.level > logging.CRITICAL and list(warnings.filters) != filters
    second.__exit__(None, None, None)
    assert logger.level == level and list(warnings.filters) == filters
    with silent():
        assert logger.level > logging.CRITICAL
    assert logger.level == level
