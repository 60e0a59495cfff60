"""Pictures of a run, as SVG that reads well on white and on dark pages: transparent, in colours between the two."""
import io

from . import analysis
from .report import CPU_UNITS, figure

INK = "#7a8490"
FAINT = "#8b949e"
FAINT_ALPHA = 0.25
ON_BARS = "#10151b"  # what is drawn on a bar stands out from every colour below, whatever the page
ON_BARS_ALPHA = 0.7
WHISKER_SHARE_MIN = 0.01  # of the picture's width; a shorter one would only be a blot
COLOURS = {"usher": "#2f81f7", "haproxy": "#d9822b", "nginx": "#3fa660", "nftables": "#a371d8", "direct": "#8b949e"}
VARIANT_COLOURS = ("#2f81f7", "#1fa8c9", "#6e5bd6", "#d64f8d", "#4d9fb0")
BAR_INCHES = 0.42
DASHES = (0, (4, 3))
TEXT_MARGIN = 2  # pixels around a text where no line goes


def _pyplot():
    """matplotlib without a display; ImportError where it isn't installed."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot
    pyplot.rcParams.update({
        "svg.hashsalt": "usher", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 10, "text.color": INK,
        "axes.edgecolor": "#8b949e55", "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False,
        "axes.spines.right": False, "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left"})
    return pyplot


def colours(step_or_names, families):
    """A colour for each contender: its family's; further ushers and HAProxys get their own shade."""
    out = {}
    ushers = 0
    for name in step_or_names:
        family = families[name]
        out[name] = COLOURS.get(family, INK)
        if family == "usher":
            out[name] = VARIANT_COLOURS[ushers % len(VARIANT_COLOURS)]
            ushers += 1
        elif name == "haproxy_nosplice":
            out[name] = "#c9a26b"
    return out


def svg(pyplot, drawing):
    out = io.StringIO()
    drawing.savefig(out, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None, "Creator": None})
    pyplot.close(drawing)
    return out.getvalue()


def whisker(axes, place, spread):
    """From lowest to highest, dark where it lies on the bar."""
    end = max(0.0, spread.median)
    for first, last, colour, alpha in ((max(0.0, spread.low), end, ON_BARS, ON_BARS_ALPHA), (end, spread.high, INK, 1.0),
                                       (spread.low, min(0.0, spread.high), INK, 1.0)):
        if last > first:
            axes.plot([first, last], [place, place], color=colour, alpha=alpha, linewidth=1.4, solid_capstyle="butt")
    for at in (spread.low, spread.high):
        inside = 0 < at < end
        axes.plot([at], [place], "|", color=ON_BARS if inside else INK, alpha=ON_BARS_ALPHA if inside else 1.0, markersize=7,
                  markeredgewidth=1.4)


def bars(pyplot, title, label, rows, palette):
    """Horizontal bars of (name, Spread), shortest first, with whiskers from lowest to highest."""
    rows = sorted(rows, key=lambda row: row[1].median, reverse=True)
    drawing, axes = pyplot.subplots(figsize=(7.2, 0.9 + BAR_INCHES * len(rows)))
    names = [name for name, _ in rows]
    middles = [spread.median for _, spread in rows]
    reach = max([spread.high for _, spread in rows] + [1e-12])
    axes.barh(names, [max(0.0, value) for value in middles], color=[palette[name] for name in names], height=0.62)
    for place, (_, spread) in enumerate(rows):
        if spread.high - spread.low > reach * WHISKER_SHARE_MIN:
            whisker(axes, place, spread)
        axes.text(max(spread.high, spread.median, 0) + reach * 0.015, place, figure(spread.median), va="center", color=INK)
    axes.set_xlim(min(0.0, *(spread.low for _, spread in rows)), reach * 1.14)
    axes.set_title(title, pad=10)
    axes.set_xlabel(label)
    axes.set_xticks([])  # every bar has its figure
    axes.tick_params(length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.axvline(0, color=FAINT, alpha=FAINT_ALPHA, linewidth=0.8)  # a whisker may go below nothing
    return svg(pyplot, drawing)


def latency_lines(pyplot, scenario, steps, palette):
    """A panel for each rate: p50, both p99 and p99.9 of every contender, on one logarithmic scale."""
    drawing, panels = pyplot.subplots(1, len(steps), figsize=(2.9 * len(steps) + 1.2, 3.2), sharey=True, squeeze=False)
    keys = [(key, label.replace(" of the ", " of the\n")) for key, label in analysis.LATENCIES
            if any(step.latency(name, key) for step in steps for name in step.contenders)]
    marked = {}
    for axes, step in zip(panels[0], steps):
        for name in step.contenders:
            found = [(place, step.latency(name, key)) for place, (key, _) in enumerate(keys)]
            points = [(place, spread) for place, spread in found if spread]
            if not points:
                continue
            line, = axes.plot([place for place, _ in points], [spread.median * 1e6 for _, spread in points], marker="o", markersize=4,
                              linewidth=2.0 if step.families[name] == "usher" else 1.4, color=palette[name],
                              linestyle=":" if step.families[name] == "direct" else "-", zorder=3 if step.families[name] == "usher" else 2)
            marked[name] = line
        axes.set_xticks(range(len(keys)), [label for _, label in keys])
        axes.set_xlim(-0.3, len(keys) - 0.7)
        axes.set_title(step.name, pad=8, fontsize=10)
        axes.set_yscale("log")
        axes.grid(axis="y", color=FAINT, alpha=FAINT_ALPHA, linewidth=0.8)
        axes.tick_params(length=0, which="both")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.yaxis.set_minor_formatter(lambda value, _: f"{value:,g}" if str(f"{value:e}")[0] in "25" else "")
    panels[0][0].set_ylabel("latency (µs), log scale")
    drawing.legend(marked.values(), marked.keys(), loc="lower center", ncol=min(6, max(1, len(marked))), frameon=False,
                   bbox_to_anchor=(0.5, -0.09), labelcolor=INK)
    drawing.suptitle(f"{scenario['name']}: at equal rates", x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    drawing.tight_layout()
    return svg(pyplot, drawing)


def of_scenario(pyplot, scenario, contenders):
    """{file name: SVG} of one scenario."""
    steps = analysis.steps(scenario, contenders)
    families = {name: one["family"] for name, one in contenders.items()}
    palette = colours(scenario["contenders"], families)
    name = scenario["name"]
    if scenario["chart"] == "added":
        factor, unit = CPU_UNITS[scenario["unit"]]
        for step in steps:
            rows = [(one, scaled(step.added_spread(one), factor)) for one in step.contenders if step.added_spread(one)]
            if rows:
                label = f"added CPU, {unit} a {scenario['unit']} (less is better; whiskers: all rounds)"
                return {f"{name}.svg": bars(pyplot, name, label, rows, palette)}
    if scenario["chart"] == "latency" and any(step.latency(one, "p99") for step in steps for one in step.contenders):
        return {f"{name}.svg": latency_lines(pyplot, scenario, steps, palette)}
    if scenario["chart"] == "memory":
        for step in steps:
            rows = [(one, step.extra(one, "bytes_per_session")) for one in step.contenders if step.extra(one, "bytes_per_session")]
            if rows:
                return {f"{name}.svg": bars(pyplot, f"{name}: {scenario['prepared'].get('sessions', 0):,} sessions",
                                            "user memory an idle session, bytes (less is better)", rows, palette)}
    return {}


def relative_added(scenario, contenders):
    """{contender: Spread of added CPU against the best peer's median}; {} where that can't be said."""
    for step in analysis.steps(scenario, contenders):
        best = step.added_spread(step.best_peer) if step.best_peer else None
        if best and best.median > 0:
            return {name: scaled(step.added_spread(name), 1 / best.median) for name in step.contenders if step.added_spread(name)}
    return {}


def line_beside(drawing, axes, at, values):
    """A dashed vertical line with gaps where it would run through one of `values` (place, text), or touch it."""
    drawing.canvas.draw()  # only now is it known how wide a text is
    to_axes = axes.transData.inverted()
    low, high = axes.get_ylim()
    start = low
    for place, text in sorted(values, key=lambda pair: pair[0]):
        box = text.get_window_extent().padded(TEXT_MARGIN).transformed(to_axes)
        if box.x0 < at < box.x1:
            axes.plot([at, at], [start, box.y0], color=INK, linewidth=1.0, linestyle=DASHES, zorder=0)
            start = box.y1
    axes.plot([at, at], [start, high], color=INK, linewidth=1.0, linestyle=DASHES, zorder=0)
    axes.set_ylim(low, high)


def overview(pyplot, results, palette):
    """Every scenario with a target in one picture: a group of bars each, in parts of the best peer's added CPU."""
    groups = [(scenario["name"], relative_added(scenario, results["contenders"])) for scenario in results["scenarios"]
              if scenario["target"] is not None]
    groups = [(name, bars_of) for name, bars_of in groups if bars_of]
    if len(groups) < 2:
        return None
    rows = [(name, one, spread) for name, bars_of in groups for one, spread in bars_of.items()]
    drawing, axes = pyplot.subplots(figsize=(7.2, 0.8 + 0.26 * len(rows) + 0.2 * len(groups)))
    place, ticks, marked, values = 0.0, [], {}, []
    reach = max(spread.median for _, _, spread in rows)
    for name, bars_of in reversed(groups):
        first = place
        for one, spread in sorted(bars_of.items(), key=lambda pair: pair[1].median, reverse=True):
            marked[one] = axes.barh(place, max(0.0, spread.median), color=palette[one], height=0.82)
            values.append((place, axes.text(max(0.0, spread.median) + reach * 0.012, place, f"{spread.median:.2f}", va="center", color=INK,
                                            fontsize=8)))
            place += 1
        ticks.append(((first + place - 1) / 2, name))
        place += 0.8
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    axes.set_xticks([])
    axes.set_xlim(0, reach * 1.1)
    axes.tick_params(length=0)
    axes.spines["bottom"].set_visible(False)
    axes.set_title("Added CPU, the best of HAProxy and nginx = 1", pad=10)
    axes.set_xlabel("less is better")
    line_beside(drawing, axes, 1.0, values)
    names = [name for name in results["contenders"] if name in marked]
    axes.legend([marked[name] for name in names], names, loc="upper center", bbox_to_anchor=(0.45, -0.06), ncol=5, frameon=False,
                labelcolor=INK, fontsize=9)
    return svg(pyplot, drawing)


def scaled(spread, factor):
    return type(spread)(spread.median * factor, spread.low * factor, spread.high * factor, spread.count) if spread else None


def write(results, folder):
    """Draws every scenario, and notes the names in `results`. Returns why there are no charts, or None."""
    try:
        pyplot = _pyplot()
    except ImportError:
        return "no charts: python3-matplotlib isn't installed (tools/install_deps bench)"
    palette = colours(results["contenders"], {name: one["family"] for name, one in results["contenders"].items()})
    whole = overview(pyplot, results, palette)
    if whole:
        (folder / "overview.svg").write_text(whole)
    results["overview"] = "overview.svg" if whole else None
    for scenario in results["scenarios"]:
        drawn = of_scenario(pyplot, scenario, results["contenders"])
        for name, text in drawn.items():
            (folder / name).write_text(text)
        scenario["charts"] = list(drawn)
    return None
