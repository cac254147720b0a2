"""Style and script of the page that `plan --plot NAME.html` writes."""

STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --soft: #5c6570; --rule: #d5dae0; --band: #f1f4f7; --ground: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --soft: #9aa4af; --rule: #3a424b; --band: #22272d; --ground: #181b1f; }
}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 1.5rem auto; padding: 0 1rem;
       color: var(--ink); background: var(--ground); }
h1 { font-size: 1.4rem; margin-bottom: 0; } polygon { stroke-width: .5; }
p { margin: .3rem 0; } ul { margin: 0; padding-left: 1.2rem; }
#here { font-variant-numeric: tabular-nums; min-height: 3em; margin-top: .8rem; }
#here span { display: inline-block; margin-right: 1.4em; } #here span i { color: var(--soft); font-style: normal; }
svg { width: 100%; height: auto; display: block; outline-offset: 4px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); }
svg .title, svg .phase { fill: var(--ink); } svg .y { text-anchor: end; } svg .x { text-anchor: middle; }
.even { fill: none; } .odd { fill: var(--band); } .grid { stroke: var(--rule); stroke-width: 1; }
.line { fill: none; stroke: var(--ink); stroke-width: 2; stroke-linejoin: round; }
#cursor { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 3 3; pointer-events: none; }
#legend { font-size: .85rem; columns: 13rem auto; margin: .6rem 0 1.2rem; }
#legend span { display: flex; break-inside: avoid; overflow-wrap: anywhere; }
#legend i { flex: none; width: .8em; height: .8em; margin: .35em .5em 0 0; border-radius: 2px; }
#legend b { margin-left: auto; padding-left: .6em; font-weight: normal; font-variant-numeric: tabular-nums; }
details { margin: .8rem 0; } summary { font-weight: 600; cursor: pointer; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; display: block;
        overflow-x: auto; }
th, td { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
.text { text-align: left; }
"""

SCRIPT = """
const plan = JSON.parse(document.getElementById("data").textContent);
const svg = document.getElementById("chart"), cursor = document.getElementById("cursor");
const here = document.getElementById("here"), shares = document.querySelectorAll("#legend b");
const width = svg.viewBox.baseVal.width;
let place = 0;

function last(keys, tokens) {
  let low = 0, high = keys.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (keys[middle] <= tokens) low = middle; else high = middle - 1;
  }
  return low;
}
function value(keys, values, tokens) {
  const i = last(keys, tokens);
  if (i + 1 === keys.length) return values[i];
  return values[i] + (values[i + 1] - values[i]) * (tokens - keys[i]) / (keys[i + 1] - keys[i]);
}
function count(tokens) {
  for (const [size, suffix] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]])
    if (tokens >= size) return Number((tokens / size).toPrecision(4)) + suffix;
  return String(tokens);
}
function number(x) {
  return x === 0 ? "0" : x < 0.01 ? x.toExponential(3).replace(/\\.?0*e/, "e") : String(Number(x.toPrecision(4)));
}
function show(tokens) {
  place = Math.max(0, Math.min(plan.end, Math.round(tokens)));
  const x = width * (plan.axis[0] + (plan.axis[1] - plan.axis[0]) * place / plan.end);
  cursor.setAttribute("x1", x); cursor.setAttribute("x2", x);
  const phase = plan.phases[last(plan.phases.map(p => p[1]), place)][0];
  const [first, step, size] = plan.steps[last(plan.steps.map(s => s[0]), place)];
  const now = step + Math.floor((place - first) / size);
  const named = now < plan.numSteps ? now.toLocaleString("en") : "none";
  const shown = [["tokens", count(place)], ["step", named], ["phase", phase]];
  for (const [name, keys, values] of plan.curves) shown.push([name, number(value(keys, values, place))]);
  here.replaceChildren(...shown.map(([name, text]) => {
    const part = document.createElement("span"), label = document.createElement("i");
    label.textContent = name + " "; part.append(label, text); return part;
  }));
  const [keys, rows] = plan.mixture;
  rows.forEach((row, i) => { shares[i].textContent = value(keys, row, place).toFixed(4); });
}
svg.addEventListener("pointermove", event => {
  const box = svg.getBoundingClientRect(), at = (event.clientX - box.left) / box.width;
  show(plan.end * (at - plan.axis[0]) / (plan.axis[1] - plan.axis[0]));
});
svg.addEventListener("keydown", event => {
  const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (move) { show(place + move * plan.end / 200); event.preventDefault(); }
});
"""
