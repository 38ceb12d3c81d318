// What the modules of the tab share: elements, requests, TensorBoard's own page.

export const at = {};  // parts of the page by name
const ARRAYS = {f8: Float64Array, f4: Float32Array, i4: Int32Array};

// Names and reasons are set as text, never as markup.
export function el(tag, props = {}, ...children) {
  const {style, data, ...rest} = props;
  const node = Object.assign(document.createElement(tag), rest);
  Object.assign(node.style, style);
  Object.assign(node.dataset, data);
  node.append(...children);
  return node;
}

export function load(tag, props) {
  return new Promise((done, failed) => {
    const node = el(tag, props);
    node.onload = done;
    node.onerror = () => failed(new Error(`The tab cannot start: ${props.src || props.href} is missing.`));
    document.head.append(node);
  });
}

// A form goes by POST: the names of many runs don't fit into an address.
export async function ask(path, form = null) {
  let answer;
  try {
    answer = await fetch(path, form ? {method: 'POST', body: form, cache: 'no-store'} : {cache: 'no-store'});
  } catch {
    throw new Error('TensorBoard does not answer. Is it still running?');
  }
  const text = await answer.text().catch(() => '');
  let body = {error: `TensorBoard answered ${answer.status}`};
  try { body = JSON.parse(text); } catch { /* said below */ }
  if (body.error || !answer.ok) throw new Error(body.error || `TensorBoard answered ${answer.status}`);
  return [body, text];
}

export function host() {  // TensorBoard's own window; unofficial, so it may be out of reach
  try { return window.parent.document.body && window.parent; } catch { return null; }
}

export function isDark() {
  return !!host()?.document.body.classList.contains('dark-mode');
}

export function say(text, error = false) {
  at.status.textContent = text;
  at.status.classList.toggle('error', error);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // a page that is not served from this machine, without TLS, has no clipboard
    const box = el('textarea', {value: text, style: {position: 'fixed', opacity: '0'}});
    document.body.append(box);
    box.select();
    document.execCommand('copy');
    box.remove();
  }
}

function decoded(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);  // ten times as fast, in browsers since 2025
  const signs = atob(text), bytes = new Uint8Array(signs.length);
  for (let at = 0; at < signs.length; at++) bytes[at] = signs.charCodeAt(at);
  return bytes;
}

// An array as Python packed it.
export function numbers(given) {
  if (!given?.bdata) return given || [];
  return new ARRAYS[given.dtype](decoded(given.bdata).buffer);
}
