// Draws what Python drew: plotly.js with the page's size, many lines in few traces, and one run in front.

import {at, isDark, load, numbers} from './page.js';
import {preview} from './preview.js';

const CONFIG = {
  displaylogo: false, responsive: true, showTips: false, showSendToCloud: false,
  modeBarButtonsToRemove: ['lasso2d', 'select2d', 'autoScale2d', 'sendDataToCloud', 'sendChartToCloud'],
};
const MANY = 160;  // traces from which those of one look become one trace: plotly takes a millisecond for each
const LIBRARY = './plotly.min.js';
let library = null;
let drawn = null;  // the figure as Python sent it, and as it is shown
let later = 0;

// A browser that has plotly.js compiled starts it at once; a fresh one needs a second for it, in which the page stands
// still, so there the first picture comes before it.
export async function fetchLibrary() {
  await load('link', {rel: 'preload', as: 'script', href: LIBRARY}).catch(() => {});  // said by start()
  const [entry] = performance.getEntriesByName(new URL(LIBRARY, document.baseURI).href);
  if (entry?.transferSize === 0) start().catch(() => {});
}

function start() {
  return library ??= load('script', {src: LIBRARY});
}

function grouped(data, key) {
  const groups = new Map();
  for (const trace of data) {
    const own = key(trace);
    if (!groups.has(own)) groups.set(own, []);
    groups.get(own).push(trace);
  }
  return [...groups.values()];
}

// Lines that look alike as one trace with gaps; the hover label names the run point by point.
function joined(own) {
  const columns = own.map(trace => [numbers(trace.x), numbers(trace.y), trace.name]);
  const size = columns.reduce((sum, [xs]) => sum + xs.length + 1, 0);
  const x = new Float64Array(size), y = new Float64Array(size), text = new Array(size).fill('');
  let next = 0;
  for (const [xs, ys, name] of columns) {
    x.set(xs, next);
    y.set(ys, next);
    text.fill(name, next, next + xs.length);
    next += xs.length;
    x[next] = y[next] = NaN;
    next += 1;
  }
  return {...own[0], x, y, text, connectgaps: false, showlegend: false, legendgroup: undefined, hovertemplate: named(own[0])};
}

function named(trace) {
  return (trace.hovertemplate || '').replace('%{fullData.name}', '%{text}') || undefined;
}

// Marks of one kind as one trace, each in its colour.
function scattered(own) {
  const marks = own.flatMap(trace => Array.from(numbers(trace.x), (x, at) => ({x, y: numbers(trace.y)[at], trace, at})));
  const pick = (value, at) => (Array.isArray(value) ? value[at] : value);
  const color = mark => pick(mark.trace.marker?.color ?? mark.trace.line?.color, mark.at);
  return {
    ...own[0], x: marks.map(mark => mark.x), y: marks.map(mark => mark.y), text: marks.map(mark => mark.trace.name),
    hovertext: own[0].hovertext && marks.map(mark => pick(mark.trace.hovertext, mark.at)), line: undefined, customdata: undefined,
    marker: {...own[0].marker, color: marks.map(color), symbol: marks.map(mark => pick(mark.trace.marker?.symbol, mark.at) || 'circle')},
    showlegend: false, legendgroup: undefined, hovertemplate: named(own[0]),
  };
}

function merged(data) {
  const isLine = trace => trace.mode === 'lines' && !trace.fill, isMark = trace => trace.mode === 'markers';
  const look = trace => JSON.stringify([trace.yaxis, trace.line, trace.meta, trace.hoverinfo]);
  const kind = trace => JSON.stringify([trace.yaxis, trace.meta, trace.hovertemplate, trace.marker?.size]);
  return [
    ...grouped(data.filter(isLine), look).map(joined),
    ...data.filter(trace => !isLine(trace) && !isMark(trace)),
    ...grouped(data.filter(isMark), kind).map(scattered),
  ];
}

function painted() {  // a page in the background paints nothing
  return new Promise(done => (document.hidden ? done() : requestAnimationFrame(() => setTimeout(done, 0))));
}

export async function draw(figure) {
  clearTimeout(later);
  const {height, ...layout} = figure.layout;
  const wanted = Math.max(height || 0, Math.round(window.innerHeight * 0.6));
  at.plot.style.height = `${wanted}px`;
  at.plot.hidden = false;
  document.body.classList.toggle('dark', isDark());
  const started = performance.now();
  if (layout.legend) layout.legend.y = -58 / Math.max(wanted - 150, 100);  // as style.legend_place
  const many = figure.data.length > MANY, data = many ? merged(figure.data) : figure.data;
  drawn = {given: figure.data, many, data, layout: {...layout, height: wanted, autosize: true}};
  if (!window.Plotly) {
    const sketch = preview(at.plot, data, drawn.layout);
    await painted();
    await start();
    sketch.remove();
  }
  await window.Plotly.react(at.plot, data, drawn.layout, CONFIG);
  document.body.dataset.drawMs = String(Math.round(performance.now() - started));
  document.body.dataset.traces = String(data.length);
}

// The run of a table's row in front, the others pale; null shows all alike.
export function highlight(group) {
  clearTimeout(later);
  later = setTimeout(() => bring(group ?? null), 40);  // not for each row that the mouse passes
}

function bring(group) {
  if (!drawn || at.plot.hidden) return;
  const own = drawn.given.map(trace => trace.legendgroup === group);
  const some = group !== null && own.some(Boolean) && !own.every(Boolean);
  if (!drawn.many) {
    window.Plotly.restyle(at.plot, {opacity: own.map(is => (some && !is ? 0.15 : 1))});
    return;
  }
  const front = some ? drawn.given.filter((_, index) => own[index]) : [];
  const behind = drawn.data.map(trace => ({...trace, opacity: some ? 0.15 : 1}));
  window.Plotly.react(at.plot, [...behind, ...front], drawn.layout, CONFIG);
}
