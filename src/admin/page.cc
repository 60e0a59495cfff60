// The page's text. Values reach the document through textContent only, so nothing that a report says becomes markup.
#include "admin/page.h"

namespace usher {

// long: it is one HTML document, kept whole so that it can be read as one.
std::string_view dashboard_page() noexcept {
  return R"page(<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>usher</title>
<link rel="icon" href="data:,">
<style>
:root {
  color-scheme: light dark;
  --bg: #f6f7f9; --card: #fff; --ink: #1c2330; --soft: #667085; --line: #e4e7ec; --accent: #3056d3;
  --good: #13795b; --good-bg: #e3f5ee; --bad: #b42318; --bad-bg: #fdeceb; --warn: #93590a; --warn-bg: #fdf3e1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #12151c; --card: #1a1f29; --ink: #e6e9ef; --soft: #98a2b3; --line: #2a3140; --accent: #8aa8ff;
    --good: #5fd3ac; --good-bg: #14342b; --bad: #ff8f86; --bad-bg: #3f1d1b; --warn: #f0bd6b; --warn-bg: #3a2d14;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .4rem .9rem; margin-bottom: 1rem; }
h1 { font-size: 1.5rem; margin: 0; letter-spacing: -.02em; }
h2 { font-size: 1rem; margin: 1.6rem 0 .5rem; }
.soft { color: var(--soft); }
.tiles { display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); }
.tile, .table { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.tile { padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.45rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .85rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .45rem .9rem; text-align: left; white-space: nowrap; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: .82rem; }
td.number, th.number { text-align: right; }
.word { padding: .1rem .55rem; border-radius: 1rem; font-size: .82rem; font-weight: 500; }
.good { color: var(--good); background: var(--good-bg); }
.bad { color: var(--bad); background: var(--bad-bg); }
.warn { color: var(--warn); background: var(--warn-bg); }
#trouble { display: none; margin: 0 0 1rem; padding: .6rem .9rem; border-radius: .6rem; }
footer { margin-top: 1.6rem; color: var(--soft); font-size: .85rem; }
a { color: var(--accent); }
</style>
</head>
<body>
<main>
<header><h1>usher</h1><span id="phase" class="word">...</span><span id="line" class="soft"></span></header>
<p id="trouble" class="bad" role="status"></p>
<section class="tiles" id="tiles"></section>
<h2>Listeners</h2><div class="table"><table id="listeners"></table></div>
<h2>Backends</h2><div class="table"><table id="backends"></table></div>
<footer>Refreshed every second. <a href="metrics">metrics</a> &middot; <a href="api/v1/status">status</a> &middot;
<a href="api/v1/connections">connections</a> &middot; <a href="api/v1/events">events</a></footer>
</main>
<script>
"use strict";
const by = id => document.getElementById(id);
const make = (tag, text, kind) => {
  const e = document.createElement(tag);
  if (text !== undefined) e.textContent = text;
  if (kind) e.className = kind;
  return e;
};
const count = n => n.toLocaleString("en");
const bytes = n => {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; ++i) n /= 1024;
  return (i ? n.toFixed(1) : n) + " " + units[i];
};
const time = s => s >= 172800 ? Math.floor(s / 86400) + " days" : s >= 7200 ? Math.floor(s / 3600) + " h"
  : s >= 120 ? Math.floor(s / 60) + " min" : s >= 1 ? Math.floor(s) + " s" : (s * 1000).toFixed(1) + " ms";
const word = (text, kind) => make("span", text, "word " + kind);

let last = {}, lastAt = 0;
const rate = (key, value, now) => {
  const before = last[key];
  last[key] = value;
  return before === undefined || now <= lastAt ? "" : count(Math.max(0, Math.round((value - before) * 1000 / (now - lastAt))));
};

function table(id, columns, rows, empty) {
  const head = make("tr");
  for (const [title, , kind] of columns) head.append(make("th", title, kind));
  const body = make("tbody");
  for (const row of rows) {
    const line = make("tr");
    for (const [, cell, kind] of columns) {
      const what = cell(row), td = make("td", undefined, kind);
      td.append(what instanceof Node ? what : String(what));
      line.append(td);
    }
    body.append(line);
  }
  if (!rows.length) {
    const td = make("td", empty, "soft"), line = make("tr");
    td.colSpan = columns.length;
    line.append(td);
    body.append(line);
  }
  const thead = make("thead");
  thead.append(head);
  by(id).replaceChildren(thead, body);
}

function show(status, listeners, backends, now) {
  by("phase").textContent = status.phase;
  by("phase").className = "word " + (status.phase === "serving" ? "good" : "warn");
  by("line").textContent = status.version + ", up " + time(status.uptime) + ", " + status.workers + " workers, steering: " + status.steering;
  const problem = status.last_reload_error;
  by("trouble").style.display = problem ? "block" : "none";
  by("trouble").textContent = problem ? "The last reload was refused: " + problem : "";
  by("tiles").replaceChildren(...[
    [count(status.connections_active), "connections of " + count(status.connections_max)],
    [rate("accepted", status.connections_accepted, now) || "-", "new a second"],
    [count(status.connections_accepted), "accepted in all"],
    [status.backends_ready + " / " + status.backends, "backends ready"],
    [count(status.descriptors_open), "descriptors of " + count(status.descriptors_max)],
  ].map(([value, title]) => {
    const tile = make("div", undefined, "tile");
    tile.append(make("b", value), make("span", title));
    return tile;
  }));
  table("listeners", [
    ["name", l => l.name], ["address", l => l.bind.join(", ")], ["pool", l => l.pool],
    ["state", l => l.ready ? word("ready", "good") : word("no backend", "bad")],
    ["datapath", l => l.datapath],
    ["active", l => count(l.active), "number"], ["new/s", l => rate("l " + l.name, l.accepted, now), "number"],
    ["accepted", l => count(l.accepted), "number"],
    ["in", l => bytes(l.bytes_in), "number"], ["out", l => bytes(l.bytes_out), "number"],
  ], listeners, "no listeners");
  const health = b => {
    const kind = b.health === "up" ? "good" : b.health === "down" ? "bad" : "warn";
    const it = b.removed ? word("removed", "warn") : b.intent !== "enabled" ? word(b.intent, "warn") : word(b.health, kind);
    it.title = b.health_reason;
    return it;
  };
  table("backends", [
    ["pool", b => b.pool], ["name", b => b.name], ["address", b => b.address], ["state", health],
    ["weight", b => b.weight, "number"], ["active", b => count(b.active), "number"],
    ["new/s", b => rate("b " + b.pool + "/" + b.name, b.connections, now), "number"],
    ["connections", b => count(b.connections), "number"],
    ["failed", b => count(Object.values(b.connect_failures).reduce((a, n) => a + n, 0)), "number"],
    ["connect", b => b.connect_latency === null ? "" : time(b.connect_latency), "number"],
    ["in", b => bytes(b.bytes_in), "number"], ["out", b => bytes(b.bytes_out), "number"],
  ], backends, "no backends");
  lastAt = now;
}

async function ask(what) {
  const answer = await fetch("api/v1/" + what, {cache: "no-store", signal: AbortSignal.timeout(5000)});
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error);
  return body;
}

async function refresh() {
  try {
    const [status, l, b] = await Promise.all(["status", "listeners", "backends"].map(ask));
    show(status, l.listeners, b.backends, performance.now());
  } catch (error) {
    by("trouble").style.display = "block";
    by("trouble").textContent = "No answer: " + error.message;
    by("phase").textContent = "unknown";
    by("phase").className = "word bad";
  }
  setTimeout(refresh, 1000);
}
refresh();
</script>
</body>
</html>
)page";
}

}  // namespace usher
