// The table below the plot: sorted by a click on its head, copied as a whole, its rows bring a run to the front.

import {at, copy, el} from './page.js';
import {highlight} from './plot.js';
import {save, state} from './state.js';

let shown = null, pinned = null;

function value(cell) {
  const found = parseFloat(cell.replace(/,/g, ''));
  return Number.isNaN(found) ? null : found;
}

function compare(a, b) {
  const x = value(a), y = value(b);
  if (x !== null && y !== null) return x - y;
  return a.localeCompare(b, undefined, {numeric: true});
}

function sorted(rows, column, down) {
  const order = [...rows].sort((a, b) => compare(a.cells[column], b.cells[column]));
  return down ? order.reverse() : order;
}

// The sidebar names a single run already.
function columns(table, single) {
  return table.head.map((_, index) => index).filter(index => !(single && table.head[index] === 'run'));
}

function row(given, kept, labels, open) {
  const cells = kept.map((index, place) => {
    const name = index === 0 && labels.has(given.cells[0]);
    const text = name ? labels.get(given.cells[0]) : given.cells[index];
    const mark = place ? [] : [el('span', {className: 'swatch', style: {background: given.color}})];
    const cell = el('td', {className: name ? 'name' : '', title: name ? given.cells[0] : ''}, ...mark, text);
    if (!place && open) cell.append(el('button', {className: 'open', textContent: 'open run', onclick: event => {
      event.stopPropagation();
      open();
    }}));
    return cell;
  });
  const node = el('tr', {data: {run: given.run || ''}}, ...cells);
  node.onmouseenter = () => pinned || highlight(given.group);
  node.onmouseleave = () => pinned || highlight(null);
  node.onclick = () => {
    const again = pinned === node;
    pinned?.classList.remove('pinned');
    pinned = again ? null : node;
    pinned?.classList.add('pinned');
    highlight(again ? null : given.group);
  };
  return node;
}

export function table(given, single, goTo) {
  shown = {given, single, goTo};
  paint();
}

function paint() {
  const {given, single, goTo} = shown, kept = columns(given, single);
  const labels = new Map(state.runs.map(run => [run.name, run.label || run.name]));
  const sort = state.sort[state.view], head = given.head;
  const rows = sort && Object.hasOwn(head, sort.column) ? sorted(given.rows, sort.column, sort.down) : given.rows;
  pinned = null;
  at.copy.hidden = !rows.length;
  at.table.replaceChildren(...(rows.length ? [
    el('thead', {}, el('tr', {}, ...kept.map(index => {
      const on = sort?.column === index;
      const button = el('button', {textContent: `${head[index]}${on ? (sort.down ? ' ↓' : ' ↑') : ''}`, onclick: () => {
        state.sort[state.view] = {column: index, down: on && !sort.down};
        save();
        paint();
      }});
      return el('th', {}, button);
    }))),
    el('tbody', {}, ...rows.map(one => row(one, kept, labels, goTo(one)))),
  ] : []));
}

export function copyTable() {
  if (!shown) return;
  const {given} = shown, lines = [given.head, ...given.rows.map(one => one.cells)];
  copy(lines.map(cells => cells.map(cell => cell.replace(/\s+/g, ' ')).join('\t')).join('\n'));
  at.copy.textContent = 'copied';
  setTimeout(() => { at.copy.textContent = 'copy table'; }, 1200);
}
