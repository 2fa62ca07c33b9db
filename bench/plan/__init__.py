# SPDX-License-Identifier: Apache-2.0
"""What planning costs and finds."""
