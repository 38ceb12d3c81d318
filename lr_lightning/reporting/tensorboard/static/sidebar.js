// The left side: views, metrics and runs; and the options above the plot.

import {at, el} from './page.js';
import {chosen, listed, matcher, relevant, save, settle, state} from './state.js';

const ROW = 24, SPARE = 30;  // pixels of a row, as in style.css; rows beyond those in sight
const TAIL = 12;  // characters at the end of a name that stay in sight: names mostly differ there
let refresh = () => {};
let later = 0;

export function onChange(action) {
  refresh = action;
}

function changed() {
  save();
  refresh();
}

function name(text) {
  const cut = Math.max(text.length - TAIL, 0);
  return el('span', {className: 'name'}, el('span', {className: 'head', textContent: text.slice(0, cut)}),
    el('span', {className: 'tail', textContent: text.slice(cut)}));
}

function choice(type, props, text, color, act, ...more) {
  const {title, ...rest} = props;
  const box = el('input', {type, ...rest});
  box.onchange = () => act(box.checked);
  const mark = color ? [el('span', {className: 'swatch', style: {background: color}})] : [];
  return el('label', {title: title ?? text}, box, ...mark, name(text), ...more);
}

function select(name, title, words) {
  const box = el('select', {id: name, onchange: () => { state[name] = box.value; changed(); }},
    ...Object.entries(words).map(([value, text]) => el('option', {value, textContent: text, selected: state[name] === value})));
  return el('label', {className: 'option'}, title, box);
}

function slider() {
  const said = el('output', {textContent: state.smooth.toFixed(2)});
  const box = el('input', {type: 'range', id: 'smooth', min: 0, max: 0.99, step: 0.01, value: state.smooth, oninput: () => {
    state.smooth = Number(box.value);
    said.textContent = state.smooth.toFixed(2);
    clearTimeout(later);
    later = setTimeout(changed, 120);  // one picture for a drag, not fifty
  }});
  return el('label', {className: 'option'}, 'smoothing', box, said);
}

function flag(name, text) {
  return choice('checkbox', {id: name, checked: state[name]}, text, null, on => { state[name] = on; changed(); });
}

function options() {
  if (state.view === 'range_test') return chosen().length === 1 ? [flag('peers', "other libraries' suggestions")] : [];
  if (state.view !== 'training') return [];
  return [
    select('x', 'over', {step: 'steps', epoch: 'epochs', time: 'relative time'}),
    select('scale', 'loss axis', {auto: 'automatic', linear: 'linear', log: 'logarithmic'}),
    slider(),
    flag('clip', 'ignore outliers'),
  ];
}

function metrics() {
  return state.metrics.map(tag => choice('checkbox', {checked: !!state.shown?.has(tag)}, tag, null, on => {
    state.shown ??= new Set();
    on ? state.shown.add(tag) : state.shown.delete(tag);
    changed();
  }));
}

function only(run) {
  settle();
  relevant().forEach(other => state.off.add(other.name));
  state.off.delete(run.name);
  changed();
}

function tick(run, on) {
  settle();
  on ? state.off.delete(run.name) : state.off.add(run.name);
  changed();
}

function row(run, single, on) {
  const button = () => el('button', {className: 'only', textContent: 'only', onclick: event => {
    event.preventDefault();
    only(run);
  }});
  return choice(single ? 'radio' : 'checkbox', {checked: on, name: 'run', title: run.name || '.'},
    run.label || run.name || '.', single ? null : run.color, now => (single ? only(run) : tick(run, now)),
    ...(single ? [] : [button()]));
}

// The rows in sight and some around them: of seven hundred runs the page holds a hundred.
function rows() {
  const single = state.view === 'search', all = listed(), on = new Set(chosen());
  const top = at.runs.scrollTop, high = at.runs.clientHeight || window.innerHeight;
  const first = Math.max(0, Math.floor(top / ROW) - SPARE), last = Math.ceil((top + high) / ROW) + SPARE;
  const shown = all.slice(first, last);
  const key = [single, first, all.length, shown.map(run => [run.name, run.label, run.color])];
  if (same(at.runs, JSON.stringify(key))) {
    shown.forEach((run, index) => { at.rows.children[index].querySelector('input').checked = on.has(run); });
    return;
  }
  const focused = at.rows.contains(document.activeElement) && document.activeElement.closest('label')?.title;
  at.rows.style.height = `${all.length * ROW}px`;
  at.rows.style.paddingTop = `${first * ROW}px`;
  at.rows.replaceChildren(...(all.length ? shown.map(run => row(run, single, on.has(run)))
    : relevant().map(() => el('p', {className: 'none', textContent: 'No run matches the filter.'})).slice(0, 1)));
  if (focused) [...at.rows.children].find(one => one.title === focused)?.querySelector('input').focus({preventScroll: true});
}

export function list() {
  at.rows = el('div', {id: 'rows'});
  let waiting = 0;
  const later = () => { waiting ||= requestAnimationFrame(() => { waiting = 0; rows(); }); };
  window.addEventListener('resize', later);
  return el('div', {id: 'runs', onscroll: later}, at.rows);
}

function same(node, key) {
  if (node.dataset.key === key) return true;
  node.dataset.key = key;
  return false;
}

export function sidebar() {
  for (const button of at.nav.children) button.setAttribute('aria-pressed', String(button.dataset.view === state.view));
  const training = state.view === 'training', single = state.view === 'search';
  at.metricsTitle.hidden = at.metrics.hidden = !training;
  if (single && chosen().length > 1) {  // one search at a time
    const has = relevant();
    has.forEach((run, index) => (index < has.length - 1 ? state.off.add(run.name) : state.off.delete(run.name)));
  }
  const shown = [state.view, state.x, state.scale, state.clip, state.peers, chosen().length === 1];
  if (!same(at.options, JSON.stringify(shown))) at.options.replaceChildren(...options());
  if (training && !same(at.metrics, JSON.stringify([state.metrics, [...(state.shown || [])]]))) {
    at.metrics.replaceChildren(...metrics());
  }
  at.links.hidden = single;
  const passes = matcher(state.filter);
  at.filter.classList.toggle('bad', !passes);
  at.filter.title = passes ? 'A regular expression; it filters the plot as well' : 'No regular expression: it is ignored';
  rows();
}

export function pick(on) {
  settle();
  listed().forEach(run => (on ? state.off.delete(run.name) : state.off.add(run.name)));
  changed();
}

export function filterBox() {
  return el('input', {type: 'search', placeholder: 'Filter runs (regex)', id: 'filter', value: state.filter, oninput: event => {
    state.filter = event.target.value;
    clearTimeout(later);
    later = setTimeout(changed, 150);
  }});
}

// A bar between sidebar and plot; its place is kept.
export function resizer(aside) {
  const set = width => {
    state.width = Math.round(Math.min(Math.max(width, 180), Math.max(220, window.innerWidth * 0.5)));
    aside.style.flexBasis = `${state.width}px`;
  };
  set(state.width);
  const done = () => { save(); window.Plotly?.Plots.resize(at.plot); };
  return el('div', {
    id: 'resizer', role: 'separator', tabIndex: 0, title: 'Drag, or use the arrow keys',
    onpointerdown: event => event.target.setPointerCapture(event.pointerId),
    onpointermove: event => { if (event.target.hasPointerCapture(event.pointerId)) set(event.clientX); },
    onpointerup: done,
    onkeydown: event => {
      const step = {ArrowLeft: -20, ArrowRight: 20}[event.key];
      if (step) { set(state.width + step); done(); }
    },
  });
}
