# SPDX-License-Identifier: Apache-2.0
"""Images with labels, apart in train, validation and test. numpy only."""

from edgeshift.data.find import SETS, open_set
from edgeshift.data.split import DataSet, Split, normalise

__all__ = ["SETS", "DataSet", "Split", "normalise", "open_set"]
