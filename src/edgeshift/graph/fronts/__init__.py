# SPDX-License-Identifier: Apache-2.0
"""Ways into the channel graph."""
