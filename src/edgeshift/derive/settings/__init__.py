# SPDX-License-Identifier: Apache-2.0
"""Settings of a whole build, one file per data set."""
