// The lines of a figure where plotly.js will draw them, in the second that a fresh browser takes to compile it.

import {el, numbers} from './page.js';

const DASHES = {dash: [9, 5], dot: [2, 4], dashdot: [9, 4, 2, 4]};

// From an axis' values to pixels, of which `from` is its low end; null where plotly.js would have to find the range.
function scale(axis, from, to) {
  if (!axis?.range) return null;
  const [low, high] = axis.range, log = axis.type === 'log';
  return value => from + (to - from) * ((log ? Math.log10(value) : value) - low) / (high - low);
}

function line(pen, trace, x, y) {
  const xs = numbers(trace.x), ys = numbers(trace.y), steps = trace.line?.shape === 'hv';
  pen.beginPath();
  let down = false, before = 0;
  for (let i = 0; i < xs.length; i++) {
    const px = x(xs[i]), py = y(ys[i]);
    if (!Number.isFinite(px) || !Number.isFinite(py)) { down = false; continue; }
    if (down && steps) pen.lineTo(px, before);
    down ? pen.lineTo(px, py) : pen.moveTo(px, py);
    down = true;
    before = py;
  }
  pen.stroke();
}

export function preview(plot, data, layout) {
  const width = plot.clientWidth, height = layout.height, {l, r, t, b} = layout.margin, sharp = window.devicePixelRatio || 1;
  const size = {width: `${width}px`, height: `${height}px`};
  const sketch = el('canvas', {id: 'sketch', width: width * sharp, height: height * sharp, style: size});
  const pen = sketch.getContext('2d');
  pen.scale(sharp, sharp);
  pen.lineJoin = 'round';
  for (const [key, axis] of Object.entries(layout)) {
    if (!/^yaxis\d*$/.test(key) || axis.visible === false) continue;
    const [low, high] = axis.domain || [0, 1], tall = height - t - b;
    const top = t + (1 - high) * tall, bottom = t + (1 - low) * tall;
    pen.strokeStyle = axis.linecolor || '#888';
    pen.lineWidth = 1;
    pen.setLineDash([]);
    pen.beginPath();
    pen.moveTo(l, top);
    pen.lineTo(l, bottom);
    pen.lineTo(width - r, bottom);
    pen.stroke();
    pen.save();
    pen.beginPath();
    pen.rect(l, top, width - l - r, bottom - top);
    pen.clip();
    for (const trace of data.filter(one => (one.yaxis || 'y') === key.replace('axis', '') && /lines/.test(one.mode || ''))) {
      const across = scale(layout[(trace.xaxis || 'x').replace('x', 'xaxis')], l, width - r), up = scale(axis, bottom, top);
      if (!across || !up) continue;
      pen.strokeStyle = trace.line?.color || '#888';
      pen.lineWidth = trace.line?.width || 2;
      pen.setLineDash(DASHES[trace.line?.dash] || []);
      line(pen, trace, across, up);
    }
    pen.restore();
  }
  plot.append(sketch);
  return sketch;
}
