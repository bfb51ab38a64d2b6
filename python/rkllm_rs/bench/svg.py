"""A report as a picture: an SVG file with three charts, made by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from .text import labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .report import Report, Result

#: Colours that are told apart without seeing red and green (Okabe and Ito).
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8c8c", "#b5a300")
_WIDTH = 900
#: A chart: its height, and the margins around it.
_HEIGHT, _TOP, _LEFT, _RIGHT, _BOTTOM = 150, 34, 64, 16, 44
_LINE = 20
_FONT = "font-family='system-ui, sans-serif' font-size='12' fill='#222'"


class _Chart(NamedTuple):
    """What a chart shows."""

    title: str
    unit: str
    value: Callable[[Result], float | None]
    #: The upper end of a line above each bar.
    upper: Callable[[Result], float | None]
    #: The vendor's figure.
    mark: Callable[[Result], float | None]


def _prefill(result: Result) -> float | None:
    return result.prefill_tokens_per_second


def _decode(result: Result) -> float | None:
    return result.generate_tokens_per_second


def _median(result: Result) -> float | None:
    return result.time_to_first_token_ms["p50"]


def _slowest(result: Result) -> float | None:
    return result.time_to_first_token_ms["p99"]


def _nothing(_: Result) -> float | None:
    return None


def _of_vendor(name: str) -> Callable[[Result], float | None]:
    def figure(result: Result) -> float | None:
        return result.vendor[name] if result.vendor and result.vendor["same_shape"] else None

    return figure


_CHARTS = (
    _Chart("Prefill", "tokens/s", _prefill, _nothing, _of_vendor("prefill_tokens_per_second")),
    _Chart("Decode", "tokens/s", _decode, _nothing, _of_vendor("generate_tokens_per_second")),
    _Chart(
        "Time to first token, p50 (bar) and p99 (line)",
        "ms",
        _median,
        _slowest,
        _of_vendor("time_to_first_token_ms"),
    ),
)


def plot(report: Report, *, title: str = "rkllm-rs bench") -> str:
    """Draws the report: prefill, decode and time to first token, by prompt size and by setup.

    Args:
        report: What ``run()`` returned.
        title: What stands above the charts.

    Returns:
        The text of an SVG file, 900 pixels wide.
    """
    series: dict[str, dict[int, Result]] = {}
    several = len({one.asked_tokens for one in report.results}) > 1
    for name, result in zip(labels(report.results), report.results, strict=True):
        whole = f"{name}, {result.asked_tokens} new tokens" if several else name
        series.setdefault(whole, {})[result.prompt_tokens] = result
    sizes = sorted({result.prompt_tokens for result in report.results})
    machine = report.machine
    where = machine["board"] or machine["processor"] or machine["architecture"] or ""
    legend = 58 + _LINE * len(series) + (_LINE if any(one.vendor for one in report.results) else 0)
    height = legend + len(_CHARTS) * (_TOP + _HEIGHT + _BOTTOM)
    parts = [
        "<svg xmlns='http://www.w3.org/2000/svg' role='img'",
        f"width='{_WIDTH}' height='{height}' viewBox='0 0 {_WIDTH} {height}'>",
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(_described(series))}</desc>",
        f"<rect width='{_WIDTH}' height='{height}' fill='white'/>",
        f"<g {_FONT}>",
        f"<text x='{_LEFT}' y='24' font-size='16' font-weight='bold'>{escape(title)}</text>",
        f"<text x='{_LEFT}' y='42' fill='#666'>{escape(where)}</text>",
        *_legend(report, list(series)),
    ]
    for number, chart in enumerate(_CHARTS):
        parts += _drawn(chart, series, sizes, legend + number * (_TOP + _HEIGHT + _BOTTOM) + _TOP)
    return "\n".join([*parts, "</g>", "</svg>", ""])


def _described(series: dict[str, dict[int, Result]]) -> str:
    told = [
        f"{name}, {size} prompt tokens: "
        + ", ".join(f"{chart.title} {chart.value(result)} {chart.unit}" for chart in _CHARTS)
        for name, results in series.items()
        for size, result in results.items()
    ]
    return "; ".join(told)


def _legend(report: Report, names: list[str]) -> Iterator[str]:
    y = 62
    for number, name in enumerate(names):
        colour = _COLOURS[number % len(_COLOURS)]
        yield f"<rect x='{_LEFT}' y='{y - 10}' width='12' height='12' fill='{colour}'/>"
        shown = name if len(name) <= 110 else name[:109] + "…"  # noqa: PLR2004 - what fits
        yield f"<text x='{_LEFT + 18}' y='{y}'>{escape(shown)}</text>"
        y += _LINE
    if any(one.vendor for one in report.results):
        yield f"<path d='M{_LEFT} {y - 4}h12' stroke='#222' stroke-width='3'/>"
        yield f"<text x='{_LEFT + 18}' y='{y}'>Rockchip's figure for the same numbers of tokens</text>"


def _drawn(chart: _Chart, series: dict[str, dict[int, Result]], sizes: list[int], y: int) -> Iterator[str]:
    """A chart whose plotting area begins at ``y``: axes, bars and marks."""
    width, bottom = _WIDTH - _LEFT - _RIGHT, y + _HEIGHT
    shown = [result for results in series.values() for result in results.values()]
    values = [of(one) or 0.0 for of in (chart.value, chart.upper, chart.mark) for one in shown]
    step, top = _scale(max(values, default=0.0))
    yield f"<text x='{_LEFT}' y='{y - 12}' font-weight='bold'>{escape(chart.title)}</text>"
    for number in range(round(top / step) + 1):
        line = bottom - _HEIGHT * number * step / top
        yield f"<path d='M{_LEFT} {line:.1f}h{width}' stroke='{'#222' if number == 0 else '#ddd'}'/>"
        yield f"<text x='{_LEFT - 8}' y='{line + 4:.1f}' text-anchor='end'>{number * step:g}</text>"
    yield (
        f"<text x='14' y='{y + _HEIGHT / 2}' text-anchor='middle' "
        f"transform='rotate(-90 14 {y + _HEIGHT / 2})'>{escape(chart.unit)}</text>"
    )
    yield f"<path d='M{_LEFT} {y}v{_HEIGHT}' stroke='#222'/>"
    group = width / max(1, len(sizes))
    bar = min(60.0, 0.8 * group / max(1, len(series)))
    for place, size in enumerate(sizes):
        middle = _LEFT + group * (place + 0.5)
        yield f"<text x='{middle:.1f}' y='{bottom + 18}' text-anchor='middle'>{size}</text>"
        for number, (name, results) in enumerate(series.items()):
            if size in results:
                x = middle + bar * (number - len(series) / 2)
                colour = _COLOURS[number % len(_COLOURS)]
                yield from _bar(chart, results[size], name, (x, bottom, bar, _HEIGHT / top), colour)
    yield f"<text x='{_LEFT + width / 2}' y='{bottom + 36}' text-anchor='middle'>prompt tokens</text>"


def _bar(
    chart: _Chart, result: Result, name: str, place: tuple[float, float, float, float], colour: str
) -> Iterator[str]:
    x, bottom, width, scale = place
    value, upper, mark = chart.value(result), chart.upper(result), chart.mark(result)
    if value is None:
        return
    height = value * scale
    told = f"{name}, {result.prompt_tokens} prompt tokens: {value:g} {chart.unit}"
    yield (
        f"<rect x='{x + 1:.1f}' y='{bottom - height:.1f}' width='{max(1.0, width - 2):.1f}' "
        f"height='{height:.1f}' fill='{colour}' data-value={quoteattr(f'{value:g}')}>"
        f"<title>{escape(told)}</title></rect>"
    )
    end = height
    if upper is not None and upper > value:
        end = upper * scale
        yield f"<path d='M{x + width / 2:.1f} {bottom - height:.1f}V{bottom - end:.1f}' stroke='#222'/>"
    if mark is not None:
        yield f"<path d='M{x:.1f} {bottom - mark * scale:.1f}h{width:.1f}' stroke='#222' stroke-width='3'/>"
    if width >= 30:  # noqa: PLR2004 - room for a number
        shown = f"{value:.0f}" if value >= 100 else f"{value:.1f}"  # noqa: PLR2004 - three digits
        y = bottom - end - 4
        yield f"<text x='{x + width / 2:.1f}' y='{y:.1f}' font-size='10' text-anchor='middle'>{shown}</text>"


def _scale(most: float) -> tuple[float, float]:
    """The step between lines, and the upper end of an axis that holds ``most`` and a number above it."""
    if most <= 0:
        return 1.0, 1.0
    raw = most * 1.12 / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw)
    return step, step * math.ceil(most * 1.12 / step)
