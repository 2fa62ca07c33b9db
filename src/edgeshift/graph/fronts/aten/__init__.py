# SPDX-License-Identifier: Apache-2.0
"""ATen operators as nodes of the channel graph: `op_NAME` handles `aten::NAME`."""
