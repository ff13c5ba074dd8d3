// The live page: what the journal tells, folded into what is drawn; and acts, sent and shown as waiting until taken.
// Text of others enters the page as text alone (textContent), never as markup.
import { colour, css, drawImage, drawLines, drawMap, hue, label, number, unitOf } from './draw.js';

const $ = (id) => document.getElementById(id);
function el(tag, given = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name in made) made[name] = value; else made.setAttribute(name, value);
  }
  made.append(...inside);
  return made;
}
const S = { // everything that is shown follows from this
  facts: null, positions: null, points: new Map(), pending: new Map(), proposal: null, vetoed: [], closed: [], log: [],
  messages: new Map(), status: {}, wishes: [], maps: null, layers: {}, layer: 'mean', tool: 'look', fit: null, ended: null,
  step: 0, seeds: new Set(), cursor: null, drag: null, axes: [0, 1], heard: 0, fixed: {}, rawOf: null, times: [], weights: null,
  resumed: null, discarded: new Set(),
};
const LAYERS = { mean: ['Mean', 'viridis'], std: ['Standard deviation', 'magma'], acquisition: ['Acquisition', 'cividis'] };
let view = null, due = false;

// ---- what comes in

function fold(r) {
  S.step = Math.max(S.step, r.step);
  switch (r.kind) {
    case 'intent': S.pending.set(r.token, r); if (r.phase === 'seed') S.seeds.add(r.token); break;
    case 'proposal': S.proposal = r; break;
    case 'reading':
      S.points.set(r.token, r); S.pending.delete(r.token); S.ended = null;
      if (r.ok === false) message(`reading-${r.token}`, 'warn', `Measurement failed: ${r.reason || 'no reason given'}`, r);
      break;
    case 'reread': { const p = S.points.get(r.token); if (p) { p.y = r.y; p.ok = true; } break; }
    case 'posterior':
      S.fit = r; S.times.push([r.step, r.t]);
      if (r.ok) S.messages.delete('fit'); else message('fit', 'warn', `Fit: ${r.words}`, r);
      break;
    case 'intervention': intervened(r); break;
    case 'act': log(r, acted(r.header), r.header, 'taken'); break;
    case 'refusal': log(r, r.header.action || 'a wish', r.header, `refused: ${r.header.reason}`); break;
    case 'fault': message(`fault-${r.number}`, 'bad', `${r.header.error}: ${[r.header.text, ...(r.header.notes || [])].join(' ')}`, r); break;
    case 'lost': message('lost', 'bad', `The instrument can not be reached: ${r.header.text}. It is waited for, ${number(r.header.wait_s)} s.`, r); break;
    case 'found': S.messages.delete('lost'); break;
    case 'suspended': message(`still-${r.number}`, 'warn', `The program stood still for ${number(r.header.seconds, 3)} s.`, r); break;
    case 'stray': case 'cut': message(`file-${r.number}`, 'warn', `${r.header.bytes} bytes in the journal belonged to no entry.`, r); break;
    case 'settings': message(`settings-${r.number}`, '', `Settings changed: ${(r.header.changes || []).join('; ')}`, r); break;
    case 'resume': S.ended = null; S.times = []; S.pending.clear();
      message('resume', '', `Gone on with at ${when(r)}.${(r.header.changed || []).length ? ` Not bit for bit as before: ${r.header.changed.join('; ')}.` : ''}`, r); break;
    case 'stop': S.ended = r.header; S.pending.clear(); break;
    default:
  }
}
function intervened(r) {
  const h = r.header;
  if (h.action === 'veto' && r.x) S.vetoed.push(...r.x);
  if (h.action === 'veto' && r.box) S.closed.push([r.box.map((b) => b[0]), r.box.map((b) => b[1])]);
  if (h.action === 'discard') S.discarded.add(h.token);
  log(r, acted({ ...h, x: r.x, box: r.box }), h, 'taken');
}
function acted(h) {
  const axes = S.facts.axes, at = (x) => x.map((v, i) => { const [s, u] = unitOf(axes[i]); return `${number(v / s)} ${u}`.trim(); }).join(', ');
  switch (h.action) {
    case 'pin': return `pin ${(h.x || []).map((x) => `(${at(x)})`).join(' ')}`;
    case 'veto': return h.box ? `veto a box ${h.box.map((b, i) => { const [s, u] = unitOf(axes[i]); return `${axes[i].name} ${number(b[0] / s)} to ${number(b[1] / s)} ${u}`; }).join(', ')}` : `veto ${(h.x || []).map((x) => `(${at(x)})`).join(' ')}`;
    case 'reweigh': return `weights ${(h.weights || []).map((w) => number(w)).join(', ')}`;
    case 'rescale': return `scalarizer ${h.scalarizer}`;
    case 'adopt': return `adopt ${h.name}: ${h.formula}`;
    case 'reject': return `reject ${h.name}: ${h.formula}`;
    case 'discard': { const p = S.points.get(h.token); return `discard measurement ${[...S.points.keys()].indexOf(h.token) + 1}${p ? ` (${at(p.x)})` : ''}`; }
    case 'safe': return 'make safe and pause';
    case 'approve': case 'decline': return `${h.action} what was asked`;
    case 'answer': return `${h.stop ? 'stop' : 'go on'}, asked: ${h.question || ''}`;
    default: return h.action;
  }
}
const when = (r) => new Date(r.wall * 1000).toLocaleTimeString([], { hourCycle: 'h23' });
function log(r, what, h, outcome) { S.log.unshift({ at: when(r), step: r.step, by: h.by || '–', what, why: h.why || '', outcome }); }
function message(key, kind, text, r) { S.messages.delete(key); S.messages.set(key, { kind, text, at: when(r) }); }

// ---- what goes out

async function post(path, body) {
  try {
    const answer = await fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
    const told = await answer.json();
    if (!answer.ok) { said(told.error || `refused (${answer.status})`, true); return null; }
    return told;
  } catch { said('The campaign did not hear that: the page has lost it.', true); return null; }
}
async function act(action, given = {}) {
  const done = await post('/act', { action, given, by: $('by').value, why: $('why').value });
  if (done) { said(`${acted({ action, ...given })}: waits until the campaign takes it.`); $('why').value = ''; }
  return done;
}
function said(text, bad = false) { $('said').textContent = text; $('said').className = bad ? 'said bad' : 'said'; }

// ---- drawing

function redraw() { if (!due) { due = true; requestAnimationFrame(() => { due = false; draw(); }); } }
function draw() {
  if (!S.facts) return;
  head(); map(); last(); convergence(); surprise(); hypotheses(); lists();
}
function phase() {
  if (S.ended) return [S.ended.finished ? 'finished' : 'stopped', 'ended'];
  if (S.status.held === 'secured') return ['paused, made safe', 'held'];
  if (S.status.held) return ['paused', 'held'];
  const words = { seed: 'measuring seeds', model: 'first fit', learn: 'running', measure: 'running', lost: 'instrument lost', starting: S.facts.live ? 'starting' : 'following', held: 'running' };
  return [words[S.status.phase] || 'running', S.status.phase === 'lost' ? 'lost' : ''];
}
function duration(s) { return s < 90 ? `${Math.round(s)} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${number(s / 3600, 2)} h`; }
function head() {
  const [text, kind] = phase(), pill = $('pill'), facts = S.facts;
  if (pill.textContent !== text) pill.textContent = text;
  pill.dataset.kind = kind;
  $('progress').textContent = S.fit ? `step ${S.step} of ${facts.steps}` : `${S.points.size} seeds measured`;
  const gaps = S.times.slice(-12).map((t, i, all) => (i ? t[1] - all[i - 1][1] : null)).filter((t) => t !== null).sort((a, b) => a - b);
  const each = gaps[Math.floor(gaps.length / 2)];
  $('clock').textContent = each && !S.ended ? `${number(each, 2)} s a step, ${duration(each * (facts.steps - S.step))} left` : '';
  const held = Boolean(S.status.held) && !S.status.question, over = Boolean(S.ended);
  $('pause').hidden = held; $('resume').hidden = !held;
  for (const id of ['pause', 'resume', 'safe', 'stop']) $(id).disabled = over;
  $('question').hidden = !S.status.question || over;
  const asks = S.status.question ? `${S.status.question}. Stop the campaign?` : '';
  if ($('question-text').textContent !== asks) $('question-text').textContent = asks;
  const away = S.heard && performance.now() - S.heard > 12000;
  const lost = S.status.gone ? `The journal is out of reach: ${S.status.gone}` : away || S.broken
    ? 'This page has lost the campaign: what it shows is old. The campaign itself does not depend on the page; look at the program that runs it.' : '';
  $('banner').hidden = !(lost || over);
  $('banner').className = over ? 'question' : 'banner';
  const end = over ? `${S.ended.finished ? 'Finished' : 'Stopped'}: ${S.ended.reason}. The instrument is safe.` : '';
  const words = end ? end + (lost ? ' The program has ended, and this page with it.' : '') : lost;
  if ($('banner').textContent !== words) $('banner').textContent = words;
}
function limitsOf(values, name) {
  if ($('fixed').checked && S.fixed[name]) return S.fixed[name];
  let low = Infinity, high = -Infinity;
  for (const v of values) if (Number.isFinite(v)) { if (v < low) low = v; if (v > high) high = v; }
  if (low === high) { low -= 1; high += 1; }
  S.fixed[name] = [low, high];
  return S.fixed[name];
}
function scaled(i) { const [size, unit] = unitOf(S.facts.axes[i]); return { size, name: label(S.facts.axes[i].name, unit), low: S.facts.axes[i].low / size, high: S.facts.axes[i].high / size }; }
function points2d(i, j) {
  const [a, b] = [scaled(i), scaled(j)], found = [], all = [...S.points.values()], n = all.length;
  all.forEach((p, k) => {
    const at = { x: p.x[i] / a.size, y: p.x[j] / b.size };
    if (p.ok === false || S.discarded.has(p.token)) found.push({ ...at, mark: 'cross', ink: css('--mark') });
    else found.push({ ...at, fill: colour('cividis', n > 1 ? k / (n - 1) : 1), edge: S.seeds.has(p.token) ? '#fff' : '#000', text: n <= 60 && k >= n - 3 ? String(k + 1) : '' });
  });
  for (const x of S.vetoed) found.push({ x: x[i] / a.size, y: x[j] / b.size, mark: 'cross', ink: css('--bad') });
  for (const p of S.pending.values()) found.push({ x: p.x[i] / a.size, y: p.x[j] / b.size, mark: 'ring', ink: css('--accent') });
  if (S.maps && !S.ended) S.maps.next.forEach((x, k) => found.push({ x: x[i] / a.size, y: x[j] / b.size, mark: 'diamond', ink: k ? css('--quiet') : '#fff' }));
  for (const w of wanted()) {
    if (w.action === 'pin') for (const x of w.given.x) found.push({ x: x[i] / a.size, y: x[j] / b.size, mark: 'plus', ink: css('--accent') });
    if (w.action === 'veto' && w.given.x) for (const x of w.given.x) found.push({ x: x[i] / a.size, y: x[j] / b.size, mark: 'cross', ink: css('--bad') });
  }
  return found;
}
const waiting = () => S.wishes.filter((w) => w.state === 'waiting');
const wanted = () => S.wishes.filter((w) => w.state === 'waiting' || w.state === 'asking'); // programs ask people
function map() {
  const facts = S.facts, d = facts.axes.length, canvas = $('map'), [name, unit] = facts.quantity;
  const [title, colours] = LAYERS[S.layer], values = S.layers[S.layer];
  const legend = { mean: label(name, unit), std: `sd of ${label(name, unit)}`, acquisition: 'acquisition value' }[S.layer];
  if (d === 1) { curve(canvas, name, unit); return; }
  const [i, j] = S.axes, [a, b] = [scaled(i), scaled(j)], grid = facts.layout.grid;
  const half = (s, n) => (grid ? (s.high - s.low) / (n - 1) / 2 : 0.02 * (s.high - s.low));
  const pads = grid ? [half(a, grid[0]), half(b, grid[1])] : [half(a), half(b)];
  const closed = [...S.closed, ...wanted().filter((w) => w.given.box).map((w) => [w.given.box.map((v) => v[0]), w.given.box.map((v) => v[1])])]
    .map(([low, high]) => [[low[i] / a.size, low[j] / b.size], [high[i] / a.size, high[j] / b.size]]);
  view = drawMap(canvas, {
    x: [a.low - pads[0], a.high + pads[0]], y: [b.low - pads[1], b.high + pads[1]], names: [a.name, b.name], bar: legend, map: colours,
    equal: facts.axes[i].unit === facts.axes[j].unit && facts.axes[i].unit === 'm', grid, order: facts.layout.order, values,
    scatter: grid ? null : S.positions.map((x) => [x[i] / a.size, x[j] / b.size]), limits: values ? limitsOf(values, S.layer) : null,
    points: points2d(i, j), closed, cursor: S.cursor, drag: S.drag,
  });
  const n = S.points.size, next = S.maps && S.maps.next[0];
  canvas.setAttribute('aria-label', `${title} of the ${name} over ${a.name} and ${b.name}; ${n} measurements${next ? `, next likely at ${number(next[i] / a.size)}, ${number(next[j] / b.size)}` : ''}`);
}
function curve(canvas, name, unit) {
  const a = scaled(0), order = S.positions.map((x, k) => k).sort((p, q) => S.positions[p][0] - S.positions[q][0]);
  const xs = order.map((k) => S.positions[k][0] / a.size), good = [...S.points.values()].filter((p) => p.y !== null);
  const score = S.layer === 'acquisition', layer = (n) => (S.layers[n] ? order.map((k) => S.layers[n][k]) : null), mean = layer('mean'), std = layer('std'), chosen = layer(S.layer);
  const all = score || S.layer === 'std' ? (chosen || [0, 1]) : [...(mean ? mean.flatMap((m, k) => [m - 2 * std[k], m + 2 * std[k]]) : []), ...good.map((p) => p.y)];
  const [low, high] = limitsOf(all.length ? all : [0, 1], `curve-${S.layer}`), pad = 0.06 * (high - low);
  const marks = S.layer === 'mean' ? good.map((p) => ({ x: p.x[0] / a.size, y: p.y, fill: css('--ink'), edge: S.seeds.has(p.token) ? css('--accent') : css('--card') })) : [];
  const line = (c, px, py) => {
    const stroke = (x, ink, dash = []) => { c.setLineDash(dash); c.strokeStyle = ink; c.lineWidth = 1.5; c.beginPath(); c.moveTo(px(x), py(low - pad)); c.lineTo(px(x), py(high + pad)); c.stroke(); c.setLineDash([]); };
    if (S.layer === 'mean' && mean) {
      c.fillStyle = hue(0); c.globalAlpha = 0.25; c.beginPath();
      xs.forEach((x, k) => c.lineTo(px(x), py(mean[k] - 1.96 * std[k])));
      for (let k = xs.length - 1; k >= 0; k--) c.lineTo(px(xs[k]), py(mean[k] + 1.96 * std[k]));
      c.fill(); c.globalAlpha = 1;
    }
    if (chosen) { c.strokeStyle = css('--accent'); c.lineWidth = 2; c.beginPath(); xs.forEach((x, k) => c.lineTo(px(x), py(chosen[k]))); c.stroke(); }
    for (const p of S.points.values()) if (p.y === null) stroke(p.x[0] / a.size, css('--mark'), [2, 3]);
    for (const p of S.pending.values()) stroke(p.x[0] / a.size, css('--accent'));
    for (const x of S.vetoed) stroke(x[0] / a.size, css('--bad'), [6, 3]);
    if (S.maps && S.maps.next.length && !S.ended) stroke(S.maps.next[0][0] / a.size, css('--quiet'), [5, 4]);
    for (const w of wanted()) if (w.action === 'pin') for (const x of w.given.x) stroke(x[0] / a.size, css('--accent'), [1, 3]);
    if (S.cursor) stroke(S.cursor[0], css('--accent'), [4, 2]);
  };
  const closed = [...S.closed, ...wanted().filter((w) => w.given.box).map((w) => [[w.given.box[0][0]], [w.given.box[0][1]]])].map(([l, h]) => [[l[0] / a.size, low - pad], [h[0] / a.size, high + pad]]);
  if (S.drag) closed.push([[S.drag[0][0], low - pad], [S.drag[1][0], high + pad]]);
  view = drawMap(canvas, { x: [a.low, a.high], y: [low - pad, high + pad], names: [a.name, score ? 'acquisition value' : `${S.layer === 'std' ? 'sd of ' : ''}${label(name, unit)}`], points: marks, closed, line });
  canvas.setAttribute('aria-label', `${LAYERS[S.layer][0]} of the ${name} over ${a.name}; ${S.points.size} measurements`);
}
function position(x) { return x.map((v, i) => { const [s, u] = unitOf(S.facts.axes[i]); return `${S.facts.axes[i].name} ${number(v / s)} ${u}`.trim(); }).join(', '); }
function last() {
  const all = [...S.points.values()], p = all[all.length - 1], list = $('last'), unit = S.facts.quantity[1];
  if (!p) { list.replaceChildren(el('dt', { textContent: 'None yet' }), el('dd')); return; }
  const found = S.maps && S.maps.surprise.find((s) => s.token === p.token);
  const rows = [['Number', `${all.length}${S.seeds.has(p.token) ? ' (seed)' : ''}`], ['At', position(p.x)],
    ['Value', p.y === null ? 'failed' : `${number(p.y)} ${unit}${p.noise > 0 ? ` ± ${number(Math.sqrt(p.noise), 2)}` : ''}`]];
  if (found) rows.push(['Predicted', `${number(found.mean)} ± ${number(found.std, 2)} ${unit}${found.z === null ? '' : `, off by ${number(found.z, 2)} sd`}`]);
  if (p.reason) rows.push(['Why', p.reason]);
  if (p.flags && p.flags.length) rows.push(['Flags', p.flags.join(', ')]);
  if (p.seconds) rows.push(['Took', `${number(p.seconds, 3)} s`]);
  if (S.raw && S.raw.fit) rows.push(['Fit', `${S.raw.fit.name}: ${S.raw.fit.words}`]);
  if (S.raw) for (const [name, v] of Object.entries(S.raw.numbers)) rows.push([name, `${number(v.value)} ${v.unit}`]);
  $('discard').hidden = !S.facts.may_act || p.ok === false || S.discarded.has(p.token) || Boolean(S.ended);
  if (S.discarded.has(p.token)) rows.push(['Discarded', 'by a person']);
  list.replaceChildren(...rows.flatMap(([k, v]) => [el('dt', { textContent: k }), el('dd', { textContent: v })]));
  if (S.rawOf !== p.number) { S.rawOf = p.number; fetchRaw(p.number); }
  signals();
}
async function got(path, read) { // null where the campaign does not answer
  try { const answer = await fetch(path); return answer.ok ? await read(answer) : null; } catch { return null; }
}
async function fetchRaw(n) {
  S.raw = await got(`/raw/${n}`, (answer) => answer.json());
  redraw();
  if (!S.raw || !Object.keys(S.raw.curves).length) return;
  const fit = await got(`/fit/${n}`, (answer) => answer.json());
  if (fit && fit.name && S.rawOf === n) S.raw.fit = fit;
  redraw();
}
function signals() {
  const canvas = $('raw'), raw = S.raw, curves = raw ? Object.entries(raw.curves) : [], images = raw ? Object.entries(raw.images) : [];
  canvas.hidden = !curves.length && !images.length;
  if (canvas.hidden) return;
  if (!curves.length) { drawImage(canvas, images[0][1].values, label(images[0][0], images[0][1].unit)); return; }
  const fit = raw.fit ? raw.fit.curves : {}, [first, ...rest] = curves, across = rest.length && rest.every(([, c]) => c.values.length === first[1].values.length);
  const x = across ? first[1].values : first[1].index, drawn = across ? rest : [first];
  const series = drawn.slice(0, 4).map(([, c], k) => ({ x, y: c.values, colour: hue(k), dots: c.values.length < 200 }));
  drawn.slice(0, 4).forEach(([name], k) => { if (fit[name]) series.push({ x, y: fit[name], colour: css('--mark'), dash: [6, 3] }); });
  drawLines(canvas, series, [across ? label(first[0], first[1].unit) : 'sample', drawn.slice(0, 2).map(([n, c]) => label(n, c.unit)).join(', ')]);
}
function legend(id, items) { $(id).replaceChildren(...items.map(([kind, ink, text]) => { const dot = el('i', { className: kind }); dot.style.setProperty('--c', ink); return el('li', {}, dot, text); })); }
function convergence() {
  const up = S.facts.maximize, all = [...S.points.values()], steps = [], best = [];
  let so = null, seeds = 0;
  all.forEach((p) => {
    if (p.y !== null && !S.discarded.has(p.token)) so = so === null ? p.y : up ? Math.max(so, p.y) : Math.min(so, p.y);
    if (S.seeds.has(p.token)) { seeds += 1; return; }
    if (!steps.length && seeds) { steps.push(0); best.push(so); }
    steps.push(p.step + 1); best.push(so);
  });
  const expected = S.maps ? S.maps.expected : [], word = up ? 'largest' : 'smallest', unit = S.facts.quantity;
  drawLines($('convergence'), [{ x: steps.length ? steps : [0], y: best.length ? best : [so], colour: hue(0), step: true },
    { x: expected.map((e) => e[0]), y: expected.map((e) => e[1]), colour: hue(1), dots: true, dash: [4, 3] }], ['step after the seeds', label(...unit)]);
  legend('convergence-legend', [['bar', hue(0), `${word} measurement so far`], ['bar', hue(1), `${word} posterior mean`]]);
}
function surprise() {
  const found = (S.maps ? S.maps.surprise : []).slice(-60), top = Math.max(3, ...found.map((s) => Math.abs(s.z || 0)));
  drawLines($('surprise'), [{ x: [0, Math.max(1, found.length)], y: [0, 0], colour: css('--line'), low: [-2, -2], high: [2, 2] },
    { x: found.map((s, k) => k + 1), y: found.map((s) => s.z), colour: css('--accent'), dots: true, line: false }], ['last measurements', 'off by (sd)'], { y: [-top, top] });
}
function hypotheses() {
  const found = S.maps ? S.maps.probability : [];
  $('hypotheses').hidden = !found.length;
  if (!found.length) return;
  const names = found[found.length - 1][1].names;
  drawLines($('probability'), names.map((name, k) => ({ x: found.map((f) => f[0]), y: found.map((f) => f[1].p[f[1].names.indexOf(name)] ?? null), colour: hue(k), dots: found.length < 40, dash: k >= 7 ? [5, 3] : [] })), ['step after the seeds', 'probability'], { y: [0, 1] });
  const now = found[found.length - 1][1];
  legend('probability-legend', names.map((name, k) => ['bar', hue(k), `${name}: ${number(now.p[k], 3)} ± ${number(now.error[k], 1)}`]));
}
function keep(node, key, make) { const text = JSON.stringify(key); if (node.dataset.key !== text) { node.dataset.key = text; node.replaceChildren(...make()); } }
function lists() {
  const news = [...S.messages.values()].reverse();
  if (S.maps && S.maps.reach) news.unshift({ kind: 'warn', text: S.maps.reach, at: '' });
  if (S.fault) news.unshift({ kind: 'warn', text: `The map could not be drawn: ${S.fault}`, at: '' });
  keep($('messages'), news, () => (news.length ? news.map((m) => el('li', { className: m.kind, textContent: m.at ? `${m.at}  ${m.text}` : m.text })) : [el('li', { textContent: 'Nothing to worry about.' })]));
  const open = wanted();
  $('waiting-box').hidden = !open.length;
  keep($('waiting'), open, () => open.map((w) => {
    const back = el('button', { type: 'button', textContent: 'Undo' });
    back.addEventListener('click', async () => { if (await post('/withdraw', { id: w.id })) said('Taken back.'); });
    const what = `${acted({ action: w.action, ...w.given })}${w.by ? `, ${w.by}` : ''}`;
    if (w.state === 'waiting') return el('li', { className: 'wait' }, what, S.facts.may_act ? back : '');
    const answers = ['approve', 'decline'].map((action) => {
      const button = el('button', { type: 'button', textContent: action === 'approve' ? 'Approve' : 'Decline' });
      button.addEventListener('click', () => act(action, { asked: w.id }));
      return button;
    });
    return el('li', { className: 'wait ask' }, `${what} asks: ${w.why || 'no reason given'}`, ...(S.facts.may_act ? answers : []));
  }));
  const rows = S.log.slice(0, 300);
  keep($('log'), rows, () => (rows.length ? rows.map((r) => el('tr', {}, ...[r.at, r.step, r.by, r.what, r.why, r.outcome].map((v) => el('td', { textContent: String(v) })))) : [el('tr', {}, el('td', { colSpan: 6, textContent: 'Nobody has acted yet.' }))]));
  const now = S.maps ? S.maps.weights : [];
  $('weights-box').hidden = !now.length || !S.facts.may_act;
  keep($('weights'), now.map((w) => w.name), () => now.map((w, k) => slider(w, k)));
  if (!S.weights) now.forEach((w, k) => show(k, w.weight));
}
const shown = (w) => (Math.abs(w) < 1e-12 ? 0 : w);
function show(k, weight) {
  const range = $(`weight-${k}`), text = $(`weight-text-${k}`);
  if (!range || document.activeElement === range) return;
  range.max = Math.max(Number(range.max), 2 * Math.abs(weight)); range.value = weight; text.textContent = number(shown(weight), 3);
}
function slider(w, k) {
  const most = Math.max(2, 2 * Math.abs(w.weight)), low = w.weight < 0 ? -most : 0;
  const range = el('input', { type: 'range', id: `weight-${k}`, min: low, max: most, step: most / 100, value: w.weight });
  const text = el('span', { id: `weight-text-${k}`, className: 'number', textContent: number(w.weight, 3) });
  let due = 0;
  range.addEventListener('input', () => {
    text.textContent = number(Number(range.value), 3);
    clearTimeout(due);
    due = setTimeout(async () => { // once the hand rests
      for (const old of waiting()) if (old.action === 'reweigh') await post('/withdraw', { id: old.id }); // the last one counts
      await act('reweigh', { weights: S.maps.weights.map((other, i) => Number($(`weight-${i}`).value)) });
    }, 400);
  });
  return el('div', { className: 'slider' }, el('label', { htmlFor: `weight-${k}`, textContent: w.name.replaceAll('_', ' ') }), text, range);
}

// ---- people

function snapped(user) { // the nearest position that can be measured, where only some can
  if (!S.facts.pool) return user;
  const span = S.facts.axes.map((a) => a.high - a.low);
  let best = null, least = Infinity;
  for (const x of S.positions) {
    const d = x.reduce((sum, v, i) => sum + (S.facts.axes.length > 2 && !S.axes.includes(i) ? 0 : ((v - user[i]) / span[i]) ** 2), 0);
    if (d < least) { least = d; best = x; }
  }
  return best;
}
function userOf(at) {
  const axes = S.facts.axes, d = axes.length;
  if (d === 1) return [at[0] * scaled(0).size];
  const x = axes.map((a) => (a.low + a.high) / 2);
  x[S.axes[0]] = at[0] * scaled(S.axes[0]).size; x[S.axes[1]] = at[1] * scaled(S.axes[1]).size;
  return x.map((v, i) => { const edge = 0.03 * (axes[i].high - axes[i].low); return Math.abs(v - axes[i].low) < edge && v < axes[i].low ? axes[i].low : Math.abs(v - axes[i].high) < edge && v > axes[i].high ? axes[i].high : v; });
}
function choose(at) {
  const x = snapped(userOf(at));
  $('coordinates').querySelectorAll('input').forEach((input, i) => { input.value = Number((x[i] / scaled(i).size).toPrecision(12)); input.dataset.exact = JSON.stringify([input.value, x[i]]); });
  if (S.tool === 'pin') act('pin', { x: [x] });
  if (S.tool === 'veto') act('veto', { x: [x] });
  if (S.tool === 'discard') discard(nearest(at));
  return x;
}
function nearest(at) { // the measurement beside a place on the map, a twentieth of its width away at most
  const d = S.facts.axes.length, [i, j] = S.axes, a = scaled(i), b = d > 1 ? scaled(j) : null;
  let best = null, least = 0.05;
  for (const p of S.points.values()) {
    const far = Math.hypot((p.x[i] / a.size - at[0]) / (a.high - a.low), b ? (p.x[j] / b.size - at[1]) / (b.high - b.low) : 0);
    if (far < least && p.ok !== false && !S.discarded.has(p.token)) { least = far; best = p; }
  }
  return best;
}
function discard(p) {
  if (!p) { said('No good measurement is there.', true); return; }
  if (window.confirm(`Discard measurement ${[...S.points.keys()].indexOf(p.token) + 1}, ${number(p.y)} ${S.facts.quantity[1]}? The model is fitted anew without it.`)) act('discard', { token: p.token });
}
function entered() { // what the form says, exactly where it came from a click
  return [...$('coordinates').querySelectorAll('input')].map((input, i) => {
    const [text, exact] = JSON.parse(input.dataset.exact || '[null, 0]');
    return text === input.value ? exact : Number(input.value) * scaled(i).size;
  });
}
function mouse(event) { const r = $('map').getBoundingClientRect(); return [event.clientX - r.left, event.clientY - r.top]; }
function wire() {
  const canvas = $('map');
  let from = null;
  canvas.addEventListener('pointerdown', (e) => {
    const p = mouse(e);
    if (!view || !view.inside(...p)) return;
    from = view.at(...p);
    if (S.tool === 'veto') { canvas.setPointerCapture(e.pointerId); S.drag = null; }
  });
  canvas.addEventListener('pointermove', (e) => {
    const p = mouse(e);
    if (!view) return;
    if (from && S.tool === 'veto') {
      const to = view.at(...p);
      S.drag = [[Math.min(from[0], to[0]), Math.min(from[1], to[1])], [Math.max(from[0], to[0]), Math.max(from[1], to[1])]];
      redraw();
    }
    if (view.inside(...p)) read(view.at(...p));
  });
  canvas.addEventListener('pointerup', (e) => {
    const p = mouse(e);
    if (!from || !view) return;
    const at = view.at(...p), [a, b] = [view.to(...from), p], far = Math.hypot(a[0] - b[0], a[1] - b[1]) > 8;
    if (S.tool === 'veto' && far && S.drag) vetoBox(S.drag); else if (!far) { S.cursor = at; choose(at); read(at); }
    from = null; S.drag = null; redraw();
  });
  canvas.addEventListener('pointercancel', () => { from = null; S.drag = null; redraw(); });
  canvas.addEventListener('keydown', (e) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }, move = moves[e.key];
    const d = S.facts.axes.length, [a, b] = [scaled(S.axes[0]), d > 1 ? scaled(S.axes[1]) : { low: 0, high: 1 }];
    const pace = e.shiftKey ? 0.1 : 0.02;
    if (move) {
      const c = S.cursor || [(a.low + a.high) / 2, (b.low + b.high) / 2], within = (v, s) => Math.max(s.low, Math.min(s.high, v));
      S.cursor = [within(c[0] + move[0] * pace * (a.high - a.low), a), within(c[1] + move[1] * pace * (b.high - b.low), b)];
      read(S.cursor); redraw(); e.preventDefault();
    } else if ((e.key === 'Enter' || e.key === ' ') && S.cursor) { choose(S.cursor); e.preventDefault(); }
  });
  $('discard').addEventListener('click', () => discard([...S.points.values()].pop()));
  for (const id of ['pause', 'resume', 'safe']) $(id).addEventListener('click', () => act(id));
  $('stop').addEventListener('click', () => { if (window.confirm('Stop the campaign and make the instrument safe? It can be resumed.')) act('stop'); });
  $('agree').addEventListener('click', () => act('answer', { stop: true }));
  $('go-on').addEventListener('click', () => act('answer', { stop: false }));
  $('rescale').addEventListener('click', () => act('rescale', { scalarizer: $('scalarizer').value }));
  $('pin-form').addEventListener('submit', (e) => { e.preventDefault(); act('pin', { x: [entered()] }); });
  $('adopt').addEventListener('click', () => {
    let prior;
    try { prior = JSON.parse($('prior').value || '{}'); } catch { said('The prior is no JSON text.', true); return; }
    const axes = S.facts.axes.map((a) => a.name);
    act('adopt', { name: $('law').value, formula: $('formula').value, prior, inputs: axes.length === 1 ? ['x'] : axes });
  });
  $('reject').addEventListener('click', () => act('reject', { name: $('law').value, formula: $('formula').value }));
  for (const [id, mayAct] of [['link-look', false], ['link-act', true]]) {
    $(id).addEventListener('click', async () => { const made = await post('/link', { act: mayAct }); if (made) $('link').textContent = new URL(made.path, location.href).href; });
  }
  $('compare').addEventListener('click', async () => {
    $('report').hidden = false; $('report').textContent = 'Being worked out; the first time takes a while.';
    const text = async (path) => (await got(path, (answer) => answer.json()) || {});
    const before = (await text('/report?anew=1')).made || 0;
    for (let k = 0; k < 240; k++) {
      await new Promise((r) => setTimeout(r, 500));
      const now = await text('/report');
      if (now.made > before) { $('report').textContent = now.text; return; }
    }
    $('report').textContent = 'It is not ready yet: ask again.';
  });
  $('theme').addEventListener('click', () => {
    const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
    document.documentElement.dataset.theme = dark ? 'light' : 'dark'; localStorage.setItem('theme', dark ? 'light' : 'dark'); redraw();
  });
  $('by').value = localStorage.getItem('by') || '';
  $('by').addEventListener('change', () => localStorage.setItem('by', $('by').value));
  $('fixed').addEventListener('change', redraw);
  for (const [id, k] of [['axis-x', 0], ['axis-y', 1]]) $(id).addEventListener('change', () => { S.axes[k] = Number($(id).value); redraw(); });
  window.addEventListener('resize', redraw);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
  setInterval(head, 1000);
}
function vetoBox([low, high]) {
  const d = S.facts.axes.length, box = S.facts.axes.map((a) => [a.low, a.high]);
  S.axes.slice(0, Math.min(d, 2)).forEach((axis, k) => { const s = scaled(axis).size; box[axis] = [low[k] * s, high[k] * s]; });
  act('veto', { box });
}
function read(at) {
  const x = snapped(userOf(at)), k = S.facts.pool ? S.positions.indexOf(x) : -1, unit = S.facts.quantity[1];
  const values = k >= 0 && S.layers.mean ? `: mean ${number(S.layers.mean[k])} ± ${number(S.layers.std[k], 2)} ${unit}, acquisition ${number(S.layers.acquisition[k], 3)}` : '';
  $('under').textContent = position(x) + values;
}
function pressed(id, items, chosen, set) {
  $(id).replaceChildren(...items.map(([key, text]) => {
    const button = el('button', { type: 'button', textContent: text });
    button.setAttribute('aria-pressed', String(key === chosen)); button.dataset.key = key;
    button.addEventListener('click', () => { for (const b of $(id).children) b.setAttribute('aria-pressed', String(b === button)); set(key); redraw(); });
    return button;
  }));
}
async function begin() {
  const theme = localStorage.getItem('theme');
  if (theme) document.documentElement.dataset.theme = theme;
  const facts = await (await fetch('/facts')).json();
  S.facts = facts; S.positions = facts.positions;
  document.title = `${facts.title} – gpax_lab`; $('title').textContent = facts.title;
  $('quantity').textContent = `${facts.maximize ? 'largest' : 'smallest'} ${label(...facts.quantity)} over ${facts.axes.map((a) => a.name).join(', ')}${facts.live ? '' : ' · for looking only'}`;
  const d = facts.axes.length;
  pressed('layers', Object.entries(LAYERS).map(([k, v]) => [k, v[0]]), S.layer, (k) => { S.layer = k; });
  pressed('tools', facts.may_act ? [['look', 'Look'], ['pin', 'Pin'], ['veto', 'Veto'], ['discard', 'Discard']] : [['look', 'Look']], S.tool, (k) => { S.tool = k; $('map').style.touchAction = k === 'veto' ? 'none' : 'pan-y'; }); // a finger drags a box
  $('projection').hidden = d < 3;
  for (const [id, k] of [['axis-x', 0], ['axis-y', 1]]) { $(id).replaceChildren(...facts.axes.map((a, i) => el('option', { value: i, textContent: a.name }))); $(id).value = k; }
  $('coordinates').replaceChildren(...facts.axes.map((a, i) => el('label', {}, scaled(i).name, el('input', { type: 'text', inputMode: 'decimal', required: true }))));
  $('scalarizer').replaceChildren(...facts.scalarizers.map((n) => el('option', { value: n, textContent: n })));
  $('scalarizer-box').hidden = facts.scalarizers.length < 2; $('laws-box').hidden = !facts.laws;
  $('acts').hidden = !facts.may_act; $('controls').hidden = !facts.may_act;
  legend('legend', d === 1 ? [['', css('--ink'), 'measured'], ['bar', hue(0), '95 % band'], ['bar', css('--mark'), 'failed'], ['bar', css('--accent'), 'being measured'], ['bar', css('--quiet'), 'likely next'], ['bar', css('--bad'), 'vetoed']]
    : [['', '#c3b369', 'measured, dark to light in order'], ['ring', css('--accent'), 'being measured'], ['turned', css('--quiet'), 'likely next'], ['', css('--mark'), 'failed (×)'], ['', css('--bad'), 'vetoed'], ['', css('--accent'), 'pin that waits (+)']]);
  wire(); follow(); redraw();
}
let source = null, seen = -1;
function follow() {
  source = new EventSource(`/events?after=${seen}`);
  const on = (name, take) => source.addEventListener(name, (e) => { S.heard = performance.now(); S.broken = false; take(JSON.parse(e.data)); redraw(); });
  on('records', (list) => { for (const r of list) if (r.number > seen) { seen = r.number; fold(r); } });
  on('status', (value) => { S.status = value; });
  on('wishes', (value) => { S.wishes = value.wishes; S.weights = waiting().find((w) => w.action === 'reweigh') || null; });
  on('maps', (value) => { S.fault = value.fault || ''; S.maps = value.step === undefined ? null : value; if (S.maps) layers(value.version); });
  on('beat', () => {});
  source.addEventListener('error', () => {
    S.broken = true; redraw();
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 3000);
  });
}
async function layers(version) {
  const parts = await Promise.all(Object.keys(LAYERS).map(async (name) => {
    const data = await got(`/map/${name}?v=${version}`, (answer) => answer.arrayBuffer());
    return data ? [name, new Float32Array(data)] : null;
  }));
  for (const part of parts) if (part) [, S.layers[part[0]]] = part;
  redraw();
}
begin().catch(() => { $('banner').hidden = false; $('banner').textContent = 'The page could not begin: open the link that the campaign shows.'; });
