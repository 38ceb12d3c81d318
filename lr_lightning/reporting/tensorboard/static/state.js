// What the reader chose. It is kept in the address, so that a reload or a link shows the same.

import {host} from './page.js';

export const VIEWS = {range_test: 'Range test', training: 'Training', search: 'Search'};
const KEY = 'p.lr_lightning.s';  // TensorBoard's own form for what plugins keep in the address
const KEPT = ['view', 'x', 'scale', 'smooth', 'clip', 'peers', 'filter', 'width', 'sort', 'first'];
export const FIRST = 50;  // runs that are drawn until the reader picks: more are slow, and no picture to read

export const state = {
  view: 'range_test', settled: false, first: true, runs: [], metrics: [], off: new Set(), shown: null,
  x: 'step', scale: 'auto', smooth: 0, clip: true, peers: false, filter: '', width: 270, sort: {},
};
const defaults = Object.fromEntries(KEPT.map(key => [key, JSON.stringify(state[key])]));
let waiting = null;  // runs of the address

// Names may be long and many, so the address has 32 bits of each (FNV-1a).
export function digest(name) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(36);
}

export function matcher(text) {
  if (!text) return () => true;
  try {
    const pattern = new RegExp(text, 'i');
    return run => pattern.test(run.name);
  } catch {
    return null;
  }
}

export function relevant() {
  return state.runs.filter(run => run.views.includes(state.view));
}

// What the filter lets through: the list at the left.
export function listed() {
  return relevant().filter(matcher(state.filter) || (() => true));
}

// What the plot shows: ticked, and let through by the filter; of very many the first, until the reader picks.
export function chosen() {
  const on = listed().filter(run => !state.off.has(run.name));
  return state.first && state.view !== 'search' ? on.slice(0, FIRST) : on;
}

// The reader picks: from now on what is ticked stays ticked, and what isn't doesn't come by itself.
export function settle() {
  if (!state.first) return;
  const here = new Set(relevant()), on = new Set(chosen());
  for (const view of ['range_test', 'training']) {
    const own = state.runs.filter(run => run.views.includes(view));
    if (own.length <= FIRST) continue;
    own.filter(run => here.has(run) ? !on.has(run) : own.indexOf(run) >= FIRST).forEach(run => state.off.add(run.name));
  }
  state.first = false;
}

export function form(dark) {
  const has = relevant(), on = chosen();
  const fields = new URLSearchParams({
    view: state.view, dark: dark ? '1' : '0', peers: state.peers ? '1' : '0', x: state.x, cached: '1',
    scale: state.scale, smooth: String(state.smooth), clip: state.clip ? '1' : '0',
  });
  if (!on.length) fields.set('none', '1');
  else on.forEach(run => fields.append('run', run.name));
  if (state.view === 'training') state.shown?.forEach(tag => fields.append('metric', tag));
  return {fields, count: on.length, total: has.length, more: listed().length - on.length};
}

export function save() {
  const frame = host();
  if (!frame) return;
  const kept = {};
  for (const key of KEPT) if (JSON.stringify(state[key]) !== defaults[key]) kept[key] = state[key];
  if (state.shown) kept.metrics = [...state.shown];
  const off = state.runs.filter(run => state.off.has(run.name)).map(run => digest(run.name));
  const on = state.runs.filter(run => !state.off.has(run.name)).map(run => digest(run.name));
  if (off.length) kept[on.length < off.length ? 'on' : 'off'] = (on.length < off.length ? on : off).join('.');
  const parts = frame.location.hash.slice(1).split('&').filter(part => part && !part.startsWith(`${KEY}=`));
  if (Object.keys(kept).length) parts.push(`${KEY}=${encodeURIComponent(JSON.stringify(kept))}`);
  try { frame.history.replaceState(frame.history.state, '', `#${parts.join('&')}`); } catch { /* only a convenience */ }
}

export function restore() {
  const part = host()?.location.hash.slice(1).split('&').find(text => text.startsWith(`${KEY}=`));
  if (!part) return;
  let kept;
  try { kept = JSON.parse(decodeURIComponent(part.slice(KEY.length + 1))); } catch { return; }
  if (!kept || typeof kept !== 'object') return;
  for (const key of KEPT) if (typeof kept[key] === typeof state[key] && kept[key] !== null) state[key] = kept[key];
  if (!Object.hasOwn(VIEWS, state.view)) state.view = 'range_test';
  state.settled = 'view' in kept;
  if (Array.isArray(kept.metrics)) state.shown = new Set(kept.metrics.map(String));
  waiting = {on: typeof kept.on === 'string' ? new Set(kept.on.split('.')) : null,
             off: new Set(String(kept.off || '').split('.'))};
}

export function adopt(found) {
  const known = new Set(state.runs.map(run => run.name));
  let room = FIRST - state.runs.filter(run => !state.off.has(run.name)).length;
  for (const run of found.runs.filter(run => !known.has(run.name))) {
    const key = digest(run.name);  // TensorBoard may still be reading: the address counts for those that come later, too
    const full = !state.first && !waiting && known.size > 0 && room-- <= 0;  // new runs come ticked, as long as there are few
    if (waiting?.on ? !waiting.on.has(key) : waiting?.off.has(key) || full) state.off.add(run.name);
  }
  state.runs = found.runs;
  state.metrics = found.metrics;
  if (found.chosen.length) state.shown ??= new Set(found.chosen);
  if (!state.settled) {  // the first view with something to show, until there is one or the reader picks
    const first = Object.keys(VIEWS).find(view => found.runs.some(run => run.views.includes(view)));
    state.view = first || 'range_test';
    state.settled = !!first;
  }
}
