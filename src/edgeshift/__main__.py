# SPDX-License-Identifier: Apache-2.0
"""`python -m edgeshift` is the command `edgeshift`."""

from edgeshift.cli import main

if __name__ == "__main__":
    main()
