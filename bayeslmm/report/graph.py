"""A model's graph as SVG: effects of groups in their plates, the response in that of the rows, parameters around them.

No arrow passes through a node, a plate or a label that it does not belong to: parameters of a group's effects stand
above them, all others beside the response, whose labels are below; arrows from a group's effects start at the edge of
their plate, below its label.
"""

from dataclasses import dataclass
from html import escape

WIDTH, RADIUS_X, RADIUS_Y = 132, 46, 20  # of a column, and of a node
ROW, DROP, STEP, MARGIN = 96, 124, 72, 26  # between rows, from plates to the response, between others beside it
LONG = 20  # letters of a label beyond which its middle is left out


@dataclass(frozen=True, slots=True)
class Node:
    """A random quantity.

    Attributes
    ----------
    key
        By which others name it.
    symbol
        Written in the node.
    label
        Written above it, beside the response below it; of effects in their plate, where it may have several lines.
    parents
        Keys of what it depends on.
    observed
        Whether it is data.
    """

    key: str
    symbol: str
    label: str
    parents: tuple[str, ...] = ()
    observed: bool = False


@dataclass(frozen=True, slots=True)
class Plate:
    """A box that says how often what is in it occurs."""

    label: str


def graph_svg(parameters: list[Node], groups: list[Node], response: Node, rows: Plate) -> str:
    """Return the drawing, every label escaped.

    Parameters
    ----------
    parameters
        Those of groups' effects, which stand above these, and others, which stand beside the response.
    groups
        The effects, each in a plate of its own, whose label is the node's.
    response
        The node below.
    rows
        The plate of the response.
    """
    owned = {parent for node in groups for parent in node.parents}
    above = [node for node in parameters if node.key in owned]
    beside = [node for node in parameters if node.key not in owned]
    width = max(len(groups), 3 if beside else 1) * WIDTH + 2 * MARGIN
    top, centre = MARGIN + 30, width / 2
    bottom = top + (ROW + DROP if groups else 0)
    across = {node.key: centre + (k - (len(groups) - 1) / 2) * WIDTH for k, node in enumerate(groups)}
    at = {node.key: (across[node.key], top + ROW) for node in groups}
    at |= {parent: (across[node.key], top) for node in groups for parent in node.parents}
    at[response.key] = (centre, bottom)
    for k, node in enumerate(beside):
        at[node.key] = (centre - WIDTH, bottom) if k == 0 else (centre + WIDTH, bottom + (k - 1) * STEP)
    height = bottom + max(RADIUS_Y + 52, STEP * (len(beside) - 2) + RADIUS_Y + 30)
    plates = [_plate(*at[node.key], *node.label.split("\n")) for node in groups]
    plates.append(_plate(*at[response.key], response.label, rows.label))
    boxes, labels, lowest = zip(*plates, strict=True)
    ends = dict(zip((node.key for node in groups), lowest, strict=False))
    arrows = [
        _arrow(at[parent], at[node.key], ends.get(parent))
        for node in (*groups, response)
        for parent in node.parents
        if parent in at
    ]
    nodes = [_node(node, *at[node.key], above=True) for node in above]
    nodes += [_node(node, *at[node.key], above=False) for node in beside]
    nodes += [_node(node, *at[node.key], above=None) for node in (*groups, response)]
    return (
        f'<svg class="graph" role="img" aria-label="Graph of the model" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" '
        'markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#5b6b7a"/></marker></defs>'
        f"{''.join(boxes)}{''.join(arrows)}{''.join(nodes)}{''.join(labels)}</svg>\n"
    )


def _short(text: str) -> str:
    if len(text) > LONG:
        head = 2 * (LONG - 1) // 3
        text = f"{text[:head]}…{text[len(text) - (LONG - 1 - head) :]}"
    return escape(text)


def _node(node: Node, x: float, y: float, *, above: bool | None) -> str:
    """Return an ellipse with its symbol, and its label above or below it; None for no label."""
    fill, label = "#dfe5ea" if node.observed else "#fff", ""
    if above is not None:
        baseline = y - RADIUS_Y - 6 if above else y + RADIUS_Y + 16
        label = f'<text x="{x:g}" y="{baseline:g}" class="small">{_short(node.label)}</text>'
    return (
        f'<ellipse cx="{x:g}" cy="{y:g}" rx="{RADIUS_X}" ry="{RADIUS_Y}" fill="{fill}" stroke="#1c2733"/>'
        f'<text x="{x:g}" y="{y + 5:g}">{_short(node.symbol)}</text>{label}'
    )


def _plate(x: float, y: float, *labels: str) -> tuple[str, str, float]:
    """Return the box, its texts, and where it ends."""
    height = 2 * RADIUS_Y + 18 + 14 * len(labels)
    texts = "".join(
        f'<text x="{x:g}" y="{y + RADIUS_Y + 16 + 13 * k:g}" class="small">{_short(label)}</text>'
        for k, label in enumerate(labels)
    )
    box = (
        f'<rect x="{x - WIDTH / 2 + 6:g}" y="{y - RADIUS_Y - 8:g}" width="{WIDTH - 12}" height="{height}" rx="6" '
        'fill="none" stroke="#8795a3"/>'
    )
    return box, texts, y - RADIUS_Y - 8 + height


def _arrow(start: tuple[float, float], end: tuple[float, float], lowest: float | None) -> str:
    """Return a line from the edge of one ellipse, or from the lower edge of its plate, to the edge of another."""
    a = _on_edge(start, end) if lowest is None else (start[0], lowest)
    b = _on_edge(end, a)
    return (
        f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" stroke="#5b6b7a" '
        'marker-end="url(#tip)"/>'
    )


def _on_edge(node: tuple[float, float], toward: tuple[float, float]) -> tuple[float, float]:
    """Return where the line from the middle of an ellipse to a point leaves it."""
    dx, dy = toward[0] - node[0], toward[1] - node[1]
    share = 1.0 / ((dx / RADIUS_X) ** 2 + (dy / RADIUS_Y) ** 2) ** 0.5
    return node[0] + share * dx, node[1] + share * dy
