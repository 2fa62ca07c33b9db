# SPDX-License-Identifier: Apache-2.0
"""The graph network beside the stack, and their mean: held-out networks of known devices, and its training time.

All members of the fleet share the graph network's layers; held-out networks are unknown on every one.
"""

import argparse

from bench.fleet.load import samples
from bench.predict.layers import COLUMNS, findings, judge_all, noise
from bench.record import Run, keep, table


def main() -> None:
    """A few members; a record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", default="openvino-t1-b1,mnn-t1-b1,ort-t1-b1")
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--steps", type=int, default=800)
    given = parser.parse_args()
    everything, rows = samples(), []
    for member in given.members.split(","):
        models = {"stacked": {"trees": 100}, "graph_net": {"steps": given.steps}}
        for row in judge_all(everything, member, models, given.parts):
            rows.append(row | {"noise": noise(member)})
            print(table([rows[-1]], COLUMNS).splitlines()[-1], flush=True)
    says = "Latency of held-out networks: stacked, graph_net, and the geometric mean of both; training time."
    keep(
        Run("predict_graph_net", says, repeats="see the fleet's README", spread="none: errors"),
        rows,
        findings(rows),
    )


if __name__ == "__main__":
    main()
