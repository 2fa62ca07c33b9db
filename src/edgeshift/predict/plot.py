# SPDX-License-Identifier: Apache-2.0
"""Predicted against measured as one SVG picture."""

from html import escape

import numpy as np
from numpy.typing import NDArray

from edgeshift.predict.samples import Prediction

SIDE, EDGE, MOST = 480, 56, 600


def scatter(prediction: Prediction, truth: NDArray[np.float64], title: str) -> str:
    """SVG text: one dot per network with its interval, logarithmic axes, and the line of equality.

    At most 600 networks are drawn, evenly spaced by measured cost.
    """
    known = np.flatnonzero(~np.isnan(truth))
    order = known[np.argsort(truth[known], kind="stable")]
    if len(order) > MOST:
        order = order[np.linspace(0, len(order) - 1, MOST).astype(int)]
    ends = [f(np.log10(v[order])) for v in (truth, prediction.value) for f in (np.min, np.max)] or [0.0, 1.0]
    low, high = float(min(ends)) - 0.05, float(max(ends)) + 0.05

    def at(value: float) -> float:
        return EDGE + (SIDE - 2 * EDGE) * (float(np.log10(value)) - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE} {SIDE}" font-family="sans-serif" '
        f'font-size="12"><title>{escape(title)}</title><rect width="{SIDE}" height="{SIDE}" fill="white"/>',
        f'<text x="{SIDE / 2}" y="24" text-anchor="middle">{escape(title)}</text>',
        f'<line x1="{EDGE}" y1="{SIDE - EDGE}" x2="{SIDE - EDGE}" y2="{EDGE}" stroke="gray"/>',
    ]
    for tick in 10.0 ** np.linspace(low, high, 5):
        x, label = at(tick), f"{tick:.3g}"
        parts.append(f'<text x="{x:.1f}" y="{SIDE - EDGE + 18}" text-anchor="middle">{label}</text>')
        parts.append(f'<text x="{EDGE - 6}" y="{SIDE - x + 4:.1f}" text-anchor="end">{label}</text>')
    for row in order:
        x, y = at(truth[row]), SIDE - at(prediction.value[row])
        top, end = SIDE - at(prediction.high[row]), SIDE - at(prediction.low[row])
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{max(top, EDGE):.1f}" y2="{min(end, SIDE - EDGE):.1f}" '
            f'stroke="lightblue"/><circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="navy"/>'
        )
    unit = escape(prediction.unit)
    parts.append(f'<text x="{SIDE / 2}" y="{SIDE - 12}" text-anchor="middle">measured, {unit}</text>')
    parts.append(
        f'<text x="16" y="{SIDE / 2}" text-anchor="middle" transform="rotate(-90 16 {SIDE / 2})">'
        f"predicted, {unit}</text></svg>"
    )
    return "\n".join(parts)
