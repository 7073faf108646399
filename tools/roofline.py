#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws reports of `baltoro bench --format json` as one roofline plot (SVG): FLOP per byte that each case must move against
FLOP per second reached, under the lines that the machine allows. Each point's lines were measured beside it, so points are
placed at their share of the limit: a point on the roof runs at the limit, whatever the machine gave at that moment.

usage: roofline.py OUT.svg LABEL=REPORT.json..."""
import json
import math
import statistics
import sys

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 520, 70, 230, 40, 60
COLOURS = ("#1f6fb4", "#d1495b", "#3a7d44", "#8e5ea2", "#b8860b")


class Axes:
    def __init__(self, x, y):
        self.x, self.y = [math.log10(v) for v in x], [math.log10(v) for v in y]

    def at(self, x, y):
        across = (math.log10(x) - self.x[0]) / (self.x[1] - self.x[0])
        up = (math.log10(y) - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)


def escape(text):
    return text.replace("&", "&amp;").replace("<", "&lt;")


def text(x, y, content, size=12, anchor="start", colour="#222", rotate=None):
    turn = f' transform="rotate({rotate} {x:.1f} {y:.1f})"' if rotate is not None else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"{turn}>{escape(content)}</text>'


def line(a, b, colour="#ccc", width=1.0, dash=""):
    return (f'<line x1="{a[0]:.1f}" y1="{a[1]:.1f}" x2="{b[0]:.1f}" y2="{b[1]:.1f}" stroke="{colour}" '
            f'stroke-width="{width}"{f" stroke-dasharray={chr(34)}{dash}{chr(34)}" if dash else ""}/>')


def points(label, report, machine):
    """(intensity, height, row): height is the share of the limit times the roof of the common machine."""
    for row in report["rows"]:
        flop, moved = row["linear_flop"] + row["attention_flop"], row["weight_bytes"] + row["kv_bytes"]
        intensity = flop / moved
        roof = min(intensity * machine["read"], machine["flop"])
        yield intensity, roof * row["limit_percent"] / 100, row


def machine_of(reports):
    """Medians of what was measured beside the cases."""
    beside = [(row["read_bytes_per_s_beside"], row["linear_flop_per_s_beside"]) for _, r in reports for row in r["rows"]]
    return {"read": statistics.median(v for reads, _ in beside for v in reads),
            "flop": statistics.median(v for _, flops in beside for v in flops)}


def grid(axes):
    out = []
    for name, (low, high) in (("x", axes.x), ("y", axes.y)):
        for power in range(math.ceil(low), math.floor(high) + 1):
            value = 10.0 ** power
            if name == "x":
                a, b = axes.at(value, 10 ** axes.y[0]), axes.at(value, 10 ** axes.y[1])
                out += [line(a, b), text(a[0], a[1] + 18, f"{value:g}", anchor="middle")]
            else:
                a, b = axes.at(10 ** axes.x[0], value), axes.at(10 ** axes.x[1], value)
                out += [line(a, b), text(a[0] - 8, a[1] + 4, f"{value / 1e9:g}", anchor="end")]
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 16, "FLOP per byte that must be moved", 13, "middle"))
    out.append(text(20, (TOP + HEIGHT - BOTTOM) / 2, "GFLOP per second", 13, "middle", rotate=-90))
    return out


def roof(axes, machine):
    low, high, ridge = 10 ** axes.x[0], 10 ** axes.x[1], machine["flop"] / machine["read"]
    corner = axes.at(ridge, machine["flop"])
    out = [line(axes.at(low, low * machine["read"]), corner, "#222", 2), line(corner, axes.at(high, machine["flop"]), "#222", 2)]
    out.append(text(corner[0] + 6, corner[1] - 8, f"{machine['flop'] / 1e9:.0f} GFLOP/s, {machine['read'] / 1e9:.0f} GB/s"))
    half = {"read": machine["read"] / 2, "flop": machine["flop"] / 2}
    corner = axes.at(ridge, half["flop"])
    return out + [line(axes.at(low, low * half["read"]), corner, "#888", 1, "4 4"),
                  line(corner, axes.at(high, half["flop"]), "#888", 1, "4 4"),
                  text(axes.at(high, half["flop"])[0] + 4, corner[1] + 4, "half")]


def draw(reports):
    machine = machine_of(reports)
    placed = [(i, *point) for i, (label, report) in enumerate(reports) for point in points(label, report, machine)]
    axes = Axes((min(p[1] for p in placed) / 1.6, max(p[1] for p in placed) * 1.6),
                (min(p[2] for p in placed) / 2, machine["flop"] * 1.6))
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
           'font-family="sans-serif">', f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           text(LEFT, 24, "What each case reaches of what the machine allows", 15)]
    out += grid(axes) + roof(axes, machine)
    side = TOP + 10
    number = 0
    for i, (label, _) in enumerate(reports):
        out.append(text(WIDTH - RIGHT + 40, side, label, 12, colour=COLOURS[i % len(COLOURS)]))
        side += 16
        for which, x, y, row in placed:
            if which != i:
                continue
            number += 1
            at = axes.at(x, y)
            out.append(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="4" fill="{COLOURS[i % len(COLOURS)]}"/>')
            out.append(text(at[0] + 6, at[1] - 5, str(number), 10))
            case = (f"prefill {row['context']}" if row["kind"] == "prefill" else
                    f"decode {row['batch']} at {row['context']}")
            out.append(text(WIDTH - RIGHT + 40, side, f"{number}  {case}: {row['limit_percent']:.0f} %", 11))
            side += 14
        side += 6
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    reports = []
    for argument in sys.argv[2:]:
        label, _, path = argument.rpartition("=")
        with open(path) as file:
            report = json.load(file)
        if report.get("format") != "baltoro-bench-2" or not report["rows"]:
            sys.exit(f"roofline: {path}: a report of `baltoro bench --format json` with rows expected")
        reports.append((label or path, report))
    with open(sys.argv[1], "w") as file:
        file.write(draw(reports))


if __name__ == "__main__":
    main()
