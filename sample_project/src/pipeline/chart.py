"""Draw culmens as a scatter chart: values in, SVG text out.

Not a tool: it has no STAGE. orch sees from the import that `render` depends on it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import floor

WIDTH, HEIGHT = 760, 470
LEFT, RIGHT, TOP, BOTTOM = 40, 650, 40, 420  # the frame of the plot, in pixels

# The shape tells the species apart as well as the colour, which the style sheet gives by class.
SHAPES = {
    "Adelie": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "Chinstrap": "M0-5.4L5.2 3.8H-5.2z",
    "Gentoo": "M0-5.6L5.6 0L0 5.6L-5.6 0z",
}


@dataclass(frozen=True)
class Culmen:
    """The bill of one penguin, in millimetres."""

    species: str
    label: str
    length: float
    depth: float


@dataclass(frozen=True)
class Scale:
    """Maps low..high in the data to start..end in pixels."""

    low: int
    high: int
    step: int
    start: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], *, step: int, start: float, end: float) -> "Scale":
        """The scale that begins and ends on the multiples of `step` around the values."""
        low = floor(min(values) / step) * step
        high = (floor(max(values) / step) + 1) * step
        return cls(low, high, step, start, end)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    @property
    def ticks(self) -> range:
        return range(self.low, self.high + 1, self.step)


def draw(culmens: Sequence[Culmen], ratios: Mapping[str, float]) -> str:
    """One mark per culmen, and for each species a line of its mean ratio of length to depth."""
    x = Scale.around([culmen.length for culmen in culmens], step=5, start=LEFT, end=RIGHT)
    y = Scale.around([culmen.depth for culmen in culmens], step=2, start=BOTTOM, end=TOP)
    means = ", ".join(f"{species} {ratio:.2f}" for species, ratio in ratios.items())
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="chart-title"'
            ' aria-describedby="chart-desc">',
            '<title id="chart-title">Culmen length and depth by species</title>',
            f'<desc id="chart-desc">Scatter chart of {len(culmens)} penguins: culmen length from'
            f" {x.low} to {x.high} mm across, culmen depth from {y.low} to {y.high} mm upwards."
            f" Mean ratio of length to depth: {escape(means)}.</desc>",
            *draw_axes(x, y),
            *(draw_mark(culmen, x, y) for culmen in culmens),
            *(draw_ratio(species, ratio, x, y) for species, ratio in ratios.items()),
            "</svg>",
        ]
    )


def draw_axes(x: Scale, y: Scale) -> list[str]:
    lines = [
        f'<text class="x axis" x="{(LEFT + RIGHT) // 2}" y="{BOTTOM + 44}">Culmen length (mm)'
        "</text>",
        f'<text class="axis" x="0" y="{TOP - 22}">Culmen depth (mm)</text>',
    ]
    for tick in x.ticks:
        lines.append(f'<path class="grid" d="M{x(tick):.1f} {TOP}V{BOTTOM}"/>')
        lines.append(f'<text class="x" x="{x(tick):.1f}" y="{BOTTOM + 20}">{tick}</text>')
    for tick in y.ticks:
        lines.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{RIGHT}"/>')
        lines.append(f'<text class="y" x="{LEFT - 10}" y="{y(tick) + 4:.1f}">{tick}</text>')
    return lines


def draw_mark(culmen: Culmen, x: Scale, y: Scale) -> str:
    return (
        f'<path class="mark {css_class(culmen.species)}" d="{shape(culmen.species)}"'
        f' transform="translate({x(culmen.length):.1f} {y(culmen.depth):.1f})">'
        f"<title>{escape(culmen.label)}</title></path>"
    )


def draw_ratio(species: str, ratio: float, x: Scale, y: Scale) -> str:
    """The line length = ratio * depth across the frame, named where it leaves it."""
    first = max(x.low, ratio * y.low)
    last = min(x.high, ratio * y.high)
    x1, y1, x2, y2 = x(first), y(first / ratio), x(last), y(last / ratio)
    name = f"{escape(species)} {ratio:.2f}"
    if last < x.high:
        text = f'<text class="x name" x="{x2:.1f}" y="{y2 - 10:.1f}">{name}</text>'
    else:
        text = f'<text class="name" x="{x2 + 8:.1f}" y="{y2 + 4:.1f}">{name}</text>'
    line = f'<path class="ratio" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'
    return f'<g class="{css_class(species)}">{line}{text}</g>'


def draw_key(species: str) -> str:
    """The mark of a species alone, to stand beside its name in a text."""
    return (
        '<svg class="key" viewBox="-7 -7 14 14" aria-hidden="true">'
        f'<path class="mark {css_class(species)}" d="{shape(species)}"/></svg>'
    )


def shape(species: str) -> str:
    return SHAPES.get(species, SHAPES["Adelie"])


def css_class(species: str) -> str:
    return escape(species.lower())
