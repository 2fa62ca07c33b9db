# SPDX-License-Identifier: Apache-2.0
"""A fleet of devices that one machine can be: runtimes, instruction sets, threads, precisions, batch sizes."""
