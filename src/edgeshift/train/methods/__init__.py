# SPDX-License-Identifier: Apache-2.0
"""Methods: ways from one network to levels of growing sparsity."""
