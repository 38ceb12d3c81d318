// Draws what Python drew: plotly.js with the page's size, many lines in few traces, and one run in front.

import {at, isDark} from './page.js';

const CONFIG = {
  displaylogo: false, responsive: true, showTips: false, showSendToCloud: false,
  modeBarButtonsToRemove: ['lasso2d', 'select2d', 'autoScale2d', 'sendDataToCloud', 'sendChartToCloud'],
};
const MANY = 160;  // traces from which lines of one look become one trace: plotly takes a millisecond for each
const ARRAYS = {f8: Float64Array, f4: Float32Array, i4: Int32Array};

function numbers(given) {
  if (!given?.bdata) return given || [];
  const bytes = Uint8Array.from(atob(given.bdata), sign => sign.charCodeAt(0));
  return new ARRAYS[given.dtype](bytes.buffer);
}

// Lines that look alike as one trace with gaps; the hover label names the run point by point.
function merged(data) {
  const groups = new Map(), rest = [];
  for (const trace of data) {
    if (trace.mode !== 'lines' || trace.fill) { rest.push(trace); continue; }
    const key = JSON.stringify([trace.yaxis, trace.line, trace.meta, trace.hoverinfo]);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(trace);
  }
  const lines = [...groups.values()].map(own => {
    const size = own.reduce((sum, trace) => sum + numbers(trace.x).length + 1, 0);
    const x = new Float64Array(size), y = new Float64Array(size), text = new Array(size);
    let next = 0;
    for (const trace of own) {
      const xs = numbers(trace.x), ys = numbers(trace.y);
      x.set(xs, next);
      y.set(ys, next);
      text.fill(trace.name, next, next + xs.length);
      next += xs.length;
      x[next] = y[next] = NaN;
      next += 1;
    }
    const template = (own[0].hovertemplate || '').replace('%{fullData.name}', '%{text}');
    return {...own[0], x, y, text, connectgaps: false, showlegend: false, hovertemplate: template || undefined};
  });
  return [...lines, ...rest];
}

export async function draw(figure) {
  const {height, ...layout} = figure.layout;
  const wanted = Math.max(height || 0, Math.round(window.innerHeight * 0.6));
  at.plot.style.height = `${wanted}px`;
  at.plot.hidden = false;
  document.body.classList.toggle('dark', isDark());
  const started = performance.now();
  if (layout.legend) layout.legend.y = -58 / Math.max(wanted - 150, 100);  // as style.legend_place
  const data = figure.data.length > MANY ? merged(figure.data) : figure.data;
  await window.Plotly.react(at.plot, data, {...layout, height: wanted, autosize: true}, CONFIG);
  document.body.dataset.drawMs = String(Math.round(performance.now() - started));
  document.body.dataset.traces = String(data.length);
}

// The run of a table's row in front, the others pale; null shows all alike.
export function highlight(name) {
  const traces = at.plot.data || [];
  if (!traces.length || traces.length > MANY || at.plot.hidden) return;
  const own = traces.map(trace => trace.legendgroup === name);
  const some = name !== null && own.some(Boolean) && !own.every(Boolean);
  window.Plotly.restyle(at.plot, {opacity: own.map(is => (some && !is ? 0.15 : 1))});
}
