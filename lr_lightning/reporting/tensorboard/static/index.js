// The "Learning rate" tab. Figures come from Python (reporting/figures); this page picks runs and shows them.

import {ask, at, el, host, isDark, load, say} from './page.js';
import {draw, fetchLibrary} from './plot.js';
import {filterBox, list, onChange, pick, resizer, sidebar} from './sidebar.js';
import {VIEWS, adopt, form, restore, save, settle, state} from './state.js';
import {copyTable, table} from './table.js';

const EMPTY = {
  range_test: ['No range test in these runs', 'Add LRRangeTest() to the callbacks of the Trainer.'],
  training: ['No learning rates in these runs', 'Add LRCurves() to the callbacks of the Trainer.'],
  search: ['No search in these runs', 'Run lr-lightning with the coarse-to-fine sweeper.'],
};
const POLL_MS = 4000;
let turn = 0, timer = 0, drawn = '', seen = '', look = null;

// A reader's choice is answered from what the server has read; polls and TensorBoard's reloads read anew.
async function refresh(anew = false) {
  const mine = ++turn;
  document.body.dataset.asked = String(mine);
  clearTimeout(timer);
  try {
    let news = false;
    if (anew || !state.runs.length) {
      const [found, text] = await ask(`./overview?dark=${isDark() ? 1 : 0}`);
      if (mine !== turn) return;
      news = text !== seen;
      seen = text;
      adopt(found);
    }
    sidebar();
    const {fields, count, total, more} = form(isDark());
    if (!total) {
      showEmpty();
    } else if (!anew || news || document.body.dataset.live === '1') {
      const [{figure, rest}, text] = await ask('./view', fields);
      if (mine !== turn) return;
      if (state.first && more) rest.notes.unshift(firstOf(count, more));
      if (text !== drawn) await show(figure, rest, count);  // the same again would only close the hover label
      drawn = text;
      say(`${count} of ${total} run${total === 1 ? '' : 's'}${rest.live ? ' · live' : ''}`);
    }
    document.body.dataset.ready = '1';
    schedule(!total || news || document.body.dataset.live === '1');  // news: TensorBoard may still be reading
  } catch (error) {
    if (mine !== turn) return;
    say(error.message, true);
    document.body.dataset.ready = 'error';
    schedule(true);
  }
  document.body.dataset.turn = String(mine);
}

function firstOf(count, more) {
  return `The first ${count} of ${count + more} runs are drawn. Tick others, filter, or choose “all” above the list.`;
}

function schedule(again) {
  if (again) timer = setTimeout(() => (document.hidden ? schedule(true) : refresh(true)), POLL_MS);
}

async function show(figure, rest, count) {
  await look;
  at.empty.hidden = true;
  document.body.dataset.live = rest.live ? '1' : '0';
  at.answer.textContent = rest.answer || '';
  at.notes.replaceChildren(...rest.notes.map(note => el('p', {textContent: note})));
  await draw(figure);
  table(rest.table, count === 1, goTo);
}

// A trial's own logs, where they have learning rates.
function goTo(row) {
  if (state.view !== 'search') return null;
  const own = state.runs.filter(run => run.views.includes('training')
    && (run.name === row.run || run.name.startsWith(`${row.run}/`)));
  if (!own.length) return null;
  return () => {
    settle();
    state.runs.filter(run => run.views.includes('training')).forEach(run => state.off.add(run.name));
    own.forEach(run => state.off.delete(run.name));
    Object.assign(state, {view: 'training', filter: ''});
    at.filter.value = '';
    save();
    refresh();
  };
}

function showEmpty() {
  const [title, advice] = EMPTY[state.view];
  drawn = '';
  document.body.classList.toggle('dark', isDark());
  at.plot.hidden = at.copy.hidden = true;
  at.answer.textContent = '';
  at.notes.replaceChildren();
  at.table.replaceChildren();
  at.empty.hidden = false;
  at.empty.replaceChildren(el('h1', {textContent: title}), el('p', {textContent: advice}));
  say('');
}

function build() {
  const part = (name, node) => (at[name] = node);
  const link = (text, on) => el('button', {textContent: text, onclick: () => pick(on)});
  const aside = el('aside', {},
    part('nav', el('nav', {}, ...Object.entries(VIEWS).map(([view, title]) => el('button', {
      textContent: title, data: {view}, onclick: () => {
        Object.assign(state, {view, settled: true});
        save();
        refresh();
      },
    })))),
    part('metricsTitle', el('h2', {textContent: 'Metrics', hidden: true})),
    part('metrics', el('div', {id: 'metrics', hidden: true})),
    el('h2', {textContent: 'Runs'}),
    part('filter', filterBox()),
    part('links', el('div', {className: 'links'}, link('all', true), link('none', false))),
    part('runs', list()));
  document.body.replaceChildren(aside, resizer(aside),
    el('main', {},
      el('div', {id: 'top'}, part('status', el('div', {id: 'status', textContent: 'Loading …'})),
        part('options', el('div', {id: 'options'}))),
      part('answer', el('p', {id: 'answer'})),
      part('notes', el('div', {id: 'notes'})),
      part('plot', el('div', {id: 'plot', hidden: true})),
      part('empty', el('div', {id: 'empty', hidden: true})),
      part('copy', el('button', {id: 'copy', textContent: 'copy table', hidden: true, onclick: copyTable})),
      el('div', {id: 'scroll'}, part('table', el('table', {id: 'table'})))));
}

// TensorBoard tells a plugin when it has reloaded (experimental) and marks the dark mode on its body (unofficial).
function connect() {
  try {
    const channel = new MessageChannel();
    channel.port1.onmessage = event => {
      const message = JSON.parse(event.data);
      if (message.isReply) return;
      channel.port1.postMessage(JSON.stringify({type: message.type, id: message.id, payload: null, error: null, isReply: true}));
      if (message.type === 'experimental.DataReloaded') refresh(true);
    };
    window.parent.postMessage('experimental.bootstrap', '*', [channel.port2]);
    const body = host()?.document.body;
    if (body) {
      let dark = isDark();
      new MutationObserver(() => { if (dark !== isDark()) { dark = isDark(); refresh(true); } })
        .observe(body, {attributes: true, attributeFilter: ['class']});
    }
  } catch (error) {
    console.info('no live reload from TensorBoard:', error);
  }
}

export async function render() {
  restore();
  build();
  onChange(refresh);
  document.body.classList.toggle('dark', isDark());
  look = load('link', {rel: 'stylesheet', href: './style.css'});
  look.catch(() => {});  // said as soon as there is something to draw
  fetchLibrary();
  connect();
  await refresh(true);  // asks while plotly.js is on its way
}
