"""A model's graph as SVG: parameters above, effects of groups in their plates, the response in that of the rows."""

from dataclasses import dataclass
from html import escape

WIDTH, RADIUS_X, RADIUS_Y = 132, 46, 20  # of a column, and of a node
ROW, MARGIN = 96, 26
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
        Written below it.
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
        The upper row.
    groups
        The middle row, each in a plate of its own, whose label is the node's.
    response
        The node below.
    rows
        The plate of the response.
    """
    width = max(len(parameters), len(groups), 1) * WIDTH + 2 * MARGIN
    levels = [(row, MARGIN + 30 + ROW * place) for place, row in enumerate([parameters, groups, [response]]) if row]
    if not groups:
        levels[-1] = ([response], levels[-1][1] - (ROW if len(levels) > 1 else 0))
    at = {
        node.key: (width / 2 + (k - (len(row) - 1) / 2) * WIDTH, y) for row, y in levels for k, node in enumerate(row)
    }
    height = levels[-1][1] + RADIUS_Y + 52
    plates = [_plate(*at[node.key], node.label) for node in groups]
    plates.append(_plate(*at[response.key], rows.label, response.label))
    boxes, labels = zip(*plates, strict=True)
    arrows = [
        _arrow(at[parent], at[node.key]) for node in (*groups, response) for parent in node.parents if parent in at
    ]
    nodes = [_node(node, *at[node.key], below=node in parameters) for node in (*parameters, *groups, response)]
    return (
        f'<svg class="graph" role="img" aria-label="Graph of the model" viewBox="0 0 {width} {height:g}" '
        f'width="{width}" height="{height:g}"><defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" '
        'markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#5b6b7a"/></marker></defs>'
        f"{''.join(boxes)}{''.join(arrows)}{''.join(nodes)}{''.join(labels)}</svg>\n"
    )


def _short(text: str) -> str:
    if len(text) > LONG:
        head = 2 * (LONG - 1) // 3
        text = f"{text[:head]}…{text[len(text) - (LONG - 1 - head) :]}"
    return escape(text)


def _node(node: Node, x: float, y: float, *, below: bool) -> str:
    fill = "#dfe5ea" if node.observed else "#fff"
    label = f'<text x="{x:g}" y="{y - RADIUS_Y - 6:g}" class="small">{_short(node.label)}</text>' if below else ""
    return (
        f'<ellipse cx="{x:g}" cy="{y:g}" rx="{RADIUS_X}" ry="{RADIUS_Y}" fill="{fill}" stroke="#1c2733"/>'
        f'<text x="{x:g}" y="{y + 5:g}">{_short(node.symbol)}</text>{label}'
    )


def _plate(x: float, y: float, *labels: str) -> tuple[str, str]:
    """Return the box, and the texts, which are drawn last so that arrows pass behind them."""
    height = 2 * RADIUS_Y + 18 + 14 * len(labels)
    texts = "".join(
        f'<text x="{x:g}" y="{y + RADIUS_Y + 16 + 13 * k:g}" class="small">{_short(label)}</text>'
        for k, label in enumerate(reversed(labels))
    )
    box = (
        f'<rect x="{x - WIDTH / 2 + 6:g}" y="{y - RADIUS_Y - 8:g}" width="{WIDTH - 12}" height="{height}" rx="6" '
        'fill="none" stroke="#8795a3"/>'
    )
    return box, texts


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    """Return a line from the edge of one ellipse to that of another."""
    (x0, y0), (x1, y1) = start, end
    dx, dy = x1 - x0, y1 - y0
    share = 1.0 / ((dx / RADIUS_X) ** 2 + (dy / RADIUS_Y) ** 2) ** 0.5
    a, b = (x0 + share * dx, y0 + share * dy), (x1 - share * dx, y1 - share * dy)
    return (
        f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" stroke="#5b6b7a" '
        'marker-end="url(#tip)"/>'
    )
