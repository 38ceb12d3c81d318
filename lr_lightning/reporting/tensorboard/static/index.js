// The "Learning rate" tab. Figures come from Python (reporting/figures.py); this page picks runs and shows them.
// Names and reasons are set as text, never as markup.

const VIEWS = {range_test: 'Range test', training: 'Training', search: 'Search'};
const EMPTY = {
  range_test: ['No range test in these runs', 'Add LRRangeTest() to the callbacks of the Trainer.'],
  training: ['No learning rates in these runs', 'Add LRCurves() to the callbacks of the Trainer.'],
  search: ['No search in these runs', 'Run lr-lightning with the coarse-to-fine sweeper.'],
};
const POLL_MS = 4000;
const CONFIG = {
  displaylogo: false, responsive: true, showTips: false,
  modeBarButtonsToRemove: ['lasso2d', 'select2d', 'sendDataToCloud', 'sendChartToCloud'],
};

const state = {view: 'range_test', settled: false, runs: [], metrics: [], off: new Set(), shown: null, peers: false, x: 'step', filter: ''};
const at = {};
let turn = 0, timer = 0, drawn = '';

function el(tag, props = {}, ...children) {
  const {style, data, ...rest} = props;
  const node = Object.assign(document.createElement(tag), rest);
  Object.assign(node.style, style);
  Object.assign(node.dataset, data);
  node.append(...children);
  return node;
}

function load(tag, props) {
  return new Promise((done, failed) => {
    const node = el(tag, props);
    node.onload = done;
    node.onerror = () => failed(new Error(`${props.src || props.href} is missing`));
    document.head.append(node);
  });
}

async function ask(path, whole = false) {
  let answer;
  try {
    answer = await fetch(path, {cache: 'no-store'});
  } catch {
    throw new Error('TensorBoard does not answer. Is it still running?');
  }
  const text = await answer.text().catch(() => '');
  let body = {error: `TensorBoard answered ${answer.status}`};
  try { body = JSON.parse(text); } catch { /* said below */ }
  if (body.error || !answer.ok) throw new Error(body.error || `TensorBoard answered ${answer.status}`);
  return whole ? [body, text] : body;
}

function host() {  // TensorBoard's own page; unofficial, so it may be out of reach
  try { return window.parent.document.body; } catch { return null; }
}

function isDark() {
  return !!host()?.classList.contains('dark-mode');
}

function say(text, error = false) {
  at.status.textContent = text;
  at.status.classList.toggle('error', error);
}

function relevant() {
  return state.runs.filter(run => run.views.includes(state.view));
}

function query() {
  const has = relevant(), on = has.filter(run => !state.off.has(run.name)), off = has.filter(run => state.off.has(run.name));
  const args = new URLSearchParams({view: state.view, dark: isDark() ? '1' : '0', peers: state.peers ? '1' : '0', x: state.x});
  if (!on.length) args.set('none', '1');
  else if (on.length <= off.length || has.length < state.runs.length) on.forEach(run => args.append('run', run.name));
  else off.forEach(run => args.append('not', run.name));
  if (state.view === 'training') state.shown?.forEach(tag => args.append('metric', tag));
  return {path: `./view?${args}`, count: on.length};
}

async function refresh() {
  const mine = ++turn;
  clearTimeout(timer);
  try {
    const found = await ask('./overview');
    if (mine !== turn) return;
    adopt(found);
    const {path, count} = query();
    const total = relevant().length;
    if (!total) {
      showEmpty();
    } else {
      const [{figure, rest}, text] = await ask(path, true);
      if (mine !== turn) return;
      if (text !== drawn) await draw(figure, rest);  // the same again would only close the reader's hover label
      drawn = text;
      say(`${count} of ${total} run${total === 1 ? '' : 's'}${rest.live ? ' · live' : ''}`);
    }
    document.body.dataset.ready = '1';
    schedule(!total || document.body.dataset.live === '1');
  } catch (error) {
    if (mine !== turn) return;
    say(error.message, true);
    document.body.dataset.ready = 'error';
    schedule(true);
  }
  document.body.dataset.turn = String(mine);
}

function schedule(again) {
  if (again) timer = setTimeout(() => (document.hidden ? schedule(true) : refresh()), POLL_MS);
}

function adopt(found) {
  state.runs = found.runs;
  state.metrics = found.metrics;
  if (found.chosen.length) state.shown ??= new Set(found.chosen);
  if (!state.settled) {  // the first view with something to show, until there is one or the user picks
    const first = Object.keys(VIEWS).find(view => found.runs.some(run => run.views.includes(view)));
    state.view = first || 'range_test';
    state.settled = !!first;
  }
  sidebar();
}

async function draw(figure, rest) {
  at.empty.hidden = true;
  at.plot.hidden = false;
  document.body.classList.toggle('dark', isDark());
  document.body.dataset.live = rest.live ? '1' : '0';
  const started = performance.now();
  await window.Plotly.react(at.plot, figure.data, figure.layout, CONFIG);
  document.body.dataset.drawMs = String(Math.round(performance.now() - started));
  at.notes.replaceChildren(...rest.notes.map(note => el('p', {textContent: note})));
  const head = el('tr', {}, ...rest.table.head.map(title => el('th', {textContent: title})));
  const rows = rest.table.rows.map(row => el('tr', {}, ...row.cells.map((cell, index) => index
    ? el('td', {textContent: cell})
    : el('td', {}, el('span', {className: 'swatch', style: {background: row.color}}), cell))));
  at.table.replaceChildren(...(rows.length ? [el('thead', {}, head), el('tbody', {}, ...rows)] : []));
}

function showEmpty() {
  const [title, advice] = EMPTY[state.view];
  drawn = '';
  document.body.classList.toggle('dark', isDark());
  at.plot.hidden = true;
  at.notes.replaceChildren();
  at.table.replaceChildren();
  at.empty.hidden = false;
  at.empty.replaceChildren(el('h1', {textContent: title}), el('p', {textContent: advice}));
  say('');
}

function choice(type, props, name, color, changed, ...more) {
  const box = el('input', {type, ...props});
  box.onchange = () => changed(box.checked);
  const mark = color ? [el('span', {className: 'swatch', style: {background: color}})] : [];
  return el('label', {title: name}, box, ...mark, el('span', {className: 'name', textContent: name}), ...more);
}

function sidebar() {
  for (const button of at.nav.children) button.setAttribute('aria-pressed', String(button.dataset.view === state.view));
  const training = state.view === 'training';
  at.metricsTitle.hidden = at.metrics.hidden = !training;
  at.options.replaceChildren(...options());
  if (training) {
    at.metrics.replaceChildren(...state.metrics.map(tag => choice('checkbox', {checked: !!state.shown?.has(tag)}, tag, null, on => {
      state.shown ??= new Set();
      on ? state.shown.add(tag) : state.shown.delete(tag);
      refresh();
    })));
  }
  at.links.hidden = state.view === 'search';
  const single = state.view === 'search', wanted = state.filter.toLowerCase();
  const has = relevant();
  if (single && has.filter(run => !state.off.has(run.name)).length > 1) {
    has.forEach((run, index) => (index < has.length - 1 ? state.off.add(run.name) : state.off.delete(run.name)));
  }
  const key = JSON.stringify([state.view, wanted, has, [...state.off]]);
  if (at.runs.dataset.key === key) return;
  at.runs.dataset.key = key;
  at.runs.replaceChildren(...has.filter(run => run.name.toLowerCase().includes(wanted)).map(run => choice(
    single ? 'radio' : 'checkbox', {checked: !state.off.has(run.name), name: 'run'}, run.name || '.', single ? null : run.color,
    on => {
      if (single) has.forEach(other => state.off.add(other.name));
      on ? state.off.delete(run.name) : state.off.add(run.name);
      refresh();
    }, ...(single ? [] : [el('button', {className: 'only', textContent: 'only', onclick: event => {
      event.preventDefault();
      has.forEach(other => state.off.add(other.name));
      state.off.delete(run.name);
      refresh();
    }})]))));
}

function options() {
  if (state.view === 'range_test') {
    return [choice('checkbox', {checked: state.peers}, "other libraries' suggestions (choose one run)", null, on => {
      state.peers = on;
      refresh();
    })];
  }
  if (state.view !== 'training') return [];
  return ['step', 'epoch'].map(x => choice('radio', {checked: state.x === x, name: 'x'}, `over ${x}s`, null, () => {
    state.x = x;
    refresh();
  }));
}

function pick(on) {
  const wanted = state.filter.toLowerCase();
  relevant().filter(run => run.name.toLowerCase().includes(wanted))
    .forEach(run => (on ? state.off.delete(run.name) : state.off.add(run.name)));
  refresh();
}

function build() {
  const part = (name, node) => (at[name] = node);
  const link = (text, on) => el('button', {textContent: text, onclick: () => pick(on)});
  document.body.replaceChildren(
    el('aside', {},
      part('nav', el('nav', {}, ...Object.entries(VIEWS).map(([view, title]) => el('button', {
        textContent: title, data: {view}, onclick: () => { state.view = view; state.settled = true; refresh(); },
      })))),
      part('options', el('div', {id: 'options', style: {marginTop: '10px'}})),
      part('metricsTitle', el('h2', {textContent: 'Metrics', hidden: true})),
      part('metrics', el('div', {id: 'metrics', hidden: true})),
      el('h2', {textContent: 'Runs'}),
      el('input', {type: 'search', placeholder: 'Filter runs', id: 'filter', oninput: event => {
        state.filter = event.target.value;
        sidebar();
      }}),
      part('links', el('div', {className: 'links'}, link('all', true), link('none', false))),
      part('runs', el('div', {id: 'runs'}))),
    el('main', {},
      part('status', el('div', {id: 'status', textContent: 'Loading …'})),
      part('notes', el('div', {id: 'notes'})),
      part('plot', el('div', {id: 'plot', hidden: true})),
      part('empty', el('div', {id: 'empty', hidden: true})),
      part('table', el('table', {id: 'table'}))));
}

// TensorBoard tells a plugin when it has reloaded (experimental) and marks the dark mode on its body (unofficial).
function connect() {
  try {
    const channel = new MessageChannel();
    channel.port1.onmessage = event => {
      const message = JSON.parse(event.data);
      if (message.isReply) return;
      channel.port1.postMessage(JSON.stringify({type: message.type, id: message.id, payload: null, error: null, isReply: true}));
      if (message.type === 'experimental.DataReloaded') refresh();
    };
    window.parent.postMessage('experimental.bootstrap', '*', [channel.port2]);
    const body = host();
    if (body) {
      let dark = isDark();
      new MutationObserver(() => { if (dark !== isDark()) { dark = isDark(); refresh(); } })
        .observe(body, {attributes: true, attributeFilter: ['class']});
    }
  } catch (error) {
    console.info('no live reload from TensorBoard:', error);
  }
}

export async function render() {
  build();
  document.body.classList.toggle('dark', isDark());
  try {
    await Promise.all([load('link', {rel: 'stylesheet', href: './style.css'}), load('script', {src: './plotly.min.js'})]);
  } catch (error) {
    say(`The tab cannot start: ${error.message}.`, true);
    document.body.dataset.ready = 'error';
    return;
  }
  connect();
  await refresh();
}
