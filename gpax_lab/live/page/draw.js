// Drawing on canvas: maps with axes and a colour bar, curves, and numbers with units as people write them.

const STOPS = { // stops of matplotlib's perceptually uniform maps (CC0): viridis, magma, cividis
  viridis: ['440154', '472d7b', '3b528b', '2c728e', '21918c', '28ae80', '5ec962', 'addc30', 'fde725'],
  magma: ['000004', '1c1044', '4f127b', '812581', 'b5367a', 'e55064', 'fb8761', 'fec287', 'fcfdbf'],
  cividis: ['00224e', '123570', '3b496c', '575d6d', '707173', '8a8678', 'a59c74', 'c3b369', 'fee838'],
};
const hex = (text) => [0, 2, 4].map((i) => parseInt(text.slice(i, i + 2), 16));
const TABLES = Object.fromEntries(Object.entries(STOPS).map(([name, stops]) => {
  const table = new Uint8ClampedArray(256 * 3), colours = stops.map(hex);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (colours.length - 1), k = Math.min(Math.floor(at), colours.length - 2), part = at - k;
    for (let c = 0; c < 3; c++) table[3 * i + c] = colours[k][c] * (1 - part) + colours[k + 1][c] * part;
  }
  return [name, table];
}));

export function colour(map, share) {
  const i = 3 * Math.max(0, Math.min(255, Math.round(share * 255))), t = TABLES[map];
  return `rgb(${t[i]},${t[i + 1]},${t[i + 2]})`;
}

const PREFIXES = [[1, 'm'], [1e-3, 'mm'], [1e-6, 'µm'], [1e-9, 'nm'], [1e-12, 'pm']];
export function unitOf(axis) { // a size and a name in which the span of an axis reads well
  if (axis.unit !== 'm') return [1, axis.unit === '1' ? '' : axis.unit];
  return PREFIXES.find(([size]) => axis.high - axis.low >= 0.999 * size) || PREFIXES[4];
}
export function label(name, unit) { return unit && unit !== '1' ? `${name} (${unit})` : name; }
export function number(value, digits = 4) {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (value !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(Math.max(0, digits - 2)).replace('e', ' e');
  return String(Number(value.toPrecision(digits)));
}
export function ticks(low, high, about = 5) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const raw = span / about, base = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * base).find((s) => s >= raw * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * span; k++) found.push(k * step);
  return found;
}
export function css(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }

export function prepare(canvas) { // a context in CSS pixels, sharp on every screen
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const c = canvas.getContext('2d');
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, width, height);
  c.font = '12px system-ui, sans-serif';
  c.textBaseline = 'middle';
  return [c, width, height];
}

function frame(c, box, x, y, names) { // axes with ticks around box [left, top, width, height]
  const [left, top, width, height] = box;
  c.strokeStyle = css('--line'); c.fillStyle = css('--quiet'); c.lineWidth = 1;
  c.strokeRect(left + 0.5, top + 0.5, width, height);
  c.textAlign = 'center';
  for (const t of ticks(x[0], x[1], Math.max(3, Math.floor(width / 90)))) {
    const at = left + ((t - x[0]) / (x[1] - x[0] || 1)) * width;
    c.beginPath(); c.moveTo(at, top + height); c.lineTo(at, top + height + 4); c.stroke();
    c.fillText(number(t), at, top + height + 13);
  }
  c.textAlign = 'right';
  for (const t of ticks(y[0], y[1], Math.max(2, Math.floor(height / 45)))) {
    const at = top + height - ((t - y[0]) / (y[1] - y[0] || 1)) * height;
    c.beginPath(); c.moveTo(left - 4, at); c.lineTo(left, at); c.stroke();
    c.fillText(number(t), left - 7, at);
  }
  c.fillStyle = css('--ink'); c.textAlign = 'center';
  c.fillText(names[0], left + width / 2, top + height + 30);
  c.save(); c.translate(left - 44, top + height / 2); c.rotate(-Math.PI / 2); c.fillText(names[1], 0, 0); c.restore();
}

function bar(c, at, limits, map, name) {
  const [left, top, height] = at, width = 13;
  for (let i = 0; i < height; i++) { c.fillStyle = colour(map, 1 - i / (height - 1)); c.fillRect(left, top + i, width, 1.5); }
  c.strokeStyle = css('--line'); c.strokeRect(left + 0.5, top + 0.5, width, height);
  c.fillStyle = css('--quiet'); c.textAlign = 'left';
  for (const t of ticks(limits[0], limits[1], Math.max(2, Math.floor(height / 60)))) {
    c.fillText(number(t, 3), left + width + 5, top + height - ((t - limits[0]) / (limits[1] - limits[0] || 1)) * height);
  }
  c.save(); c.translate(left + width + 52, top + height / 2); c.rotate(Math.PI / 2); c.textAlign = 'center';
  c.fillStyle = css('--ink'); c.fillText(name, 0, 0); c.restore();
}

export function mark(c, kind, x, y, ink = css('--ink')) {
  const both = (draw) => { c.lineWidth = 4; c.strokeStyle = css('--card'); draw(); c.lineWidth = 2; c.strokeStyle = ink; draw(); };
  if (kind === 'cross') both(() => { c.beginPath(); c.moveTo(x - 5, y - 5); c.lineTo(x + 5, y + 5); c.moveTo(x + 5, y - 5); c.lineTo(x - 5, y + 5); c.stroke(); });
  if (kind === 'ring') both(() => { c.beginPath(); c.arc(x, y, 8, 0, 7); c.stroke(); });
  if (kind === 'diamond') both(() => { c.beginPath(); c.moveTo(x, y - 8); c.lineTo(x + 8, y); c.lineTo(x, y + 8); c.lineTo(x - 8, y); c.closePath(); c.stroke(); });
  if (kind === 'plus') both(() => { c.beginPath(); c.moveTo(x - 8, y); c.lineTo(x + 8, y); c.moveTo(x, y - 8); c.lineTo(x, y + 8); c.stroke(); });
}

// A map or, over one axis, a curve with its band. Returns how to go from pixels to positions and back.
export function drawMap(canvas, m) {
  const [c, width, height] = prepare(canvas), right = m.line ? 12 : width > 420 ? 86 : 66;
  const box = [54, 10, width - 54 - right, height - 54];
  if (m.equal) { // one unit is as long along both axes
    const scale = Math.min(box[2] / (m.x[1] - m.x[0]), box[3] / (m.y[1] - m.y[0]));
    box[2] = Math.max(40, scale * (m.x[1] - m.x[0])); box[3] = Math.max(40, scale * (m.y[1] - m.y[0]));
    box[0] = 54 + Math.max(0, (width - 54 - right - box[2]) / 2);
  }
  const px = (v) => box[0] + ((v - m.x[0]) / (m.x[1] - m.x[0])) * box[2];
  const py = (v) => box[1] + box[3] - ((v - m.y[0]) / (m.y[1] - m.y[0] || 1)) * box[3];
  c.save(); c.beginPath(); c.rect(...box); c.clip();
  if (m.grid && m.values) {
    const [columns, rows] = m.grid, image = new ImageData(columns, rows), table = TABLES[m.map];
    for (let k = 0; k < columns * rows; k++) {
      const v = m.values[m.order[k]], share = (v - m.limits[0]) / (m.limits[1] - m.limits[0] || 1);
      const at = 4 * ((rows - 1 - Math.floor(k / columns)) * columns + (k % columns));
      const i = 3 * Math.max(0, Math.min(255, Math.round(share * 255)));
      image.data.set(Number.isFinite(v) ? [table[i], table[i + 1], table[i + 2], 255] : [128, 128, 128, 90], at);
    }
    const sheet = new OffscreenCanvas(columns, rows);
    sheet.getContext('2d').putImageData(image, 0, 0);
    c.imageSmoothingEnabled = false;
    const [w, h] = [(m.x[1] - m.x[0]) / columns, (m.y[1] - m.y[0]) / rows];
    c.drawImage(sheet, px(m.x[0]), py(m.y[1]), px(m.x[0] + w * columns) - px(m.x[0]), py(m.y[1] - h * rows) - py(m.y[1]));
  } else if (m.scatter && m.values) {
    m.scatter.forEach(([x, y], k) => {
      c.fillStyle = colour(m.map, (m.values[k] - m.limits[0]) / (m.limits[1] - m.limits[0] || 1));
      c.fillRect(px(x) - 2.5, py(y) - 2.5, 5, 5);
    });
  }
  for (const [low, high] of m.closed) {
    c.fillStyle = css('--bad'); c.globalAlpha = 0.28;
    c.fillRect(px(low[0]), py(high[1]), px(high[0]) - px(low[0]), py(low[1]) - py(high[1])); c.globalAlpha = 1;
    c.strokeStyle = css('--bad'); c.lineWidth = 1.5;
    c.strokeRect(px(low[0]), py(high[1]), px(high[0]) - px(low[0]), py(low[1]) - py(high[1]));
  }
  if (m.line) m.line(c, px, py);
  c.restore();
  frame(c, box, m.x, m.y, m.names);
  if (m.limits && m.values && !m.line) bar(c, [box[0] + box[2] + 10, box[1], box[3]], m.limits, m.map, right > 70 ? m.bar : '');
  c.save(); c.beginPath(); c.rect(box[0] - 9, box[1] - 9, box[2] + 18, box[3] + 18); c.clip();
  m.points.forEach((p) => {
    const [x, y] = [px(p.x), py(p.y)];
    if (p.mark) { mark(c, p.mark, x, y, p.ink); return; }
    c.beginPath(); c.arc(x, y, p.size || 4.5, 0, 7); c.fillStyle = p.fill; c.fill();
    c.lineWidth = 1.4; c.strokeStyle = p.edge || '#000'; c.stroke();
    if (p.text) {
      c.textAlign = 'left'; c.lineWidth = 3; c.strokeStyle = '#000'; c.strokeText(p.text, x + 7, y - 8);
      c.fillStyle = '#fff'; c.fillText(p.text, x + 7, y - 8);
    }
  });
  if (m.cursor) mark(c, 'plus', px(m.cursor[0]), py(m.cursor[1]), css('--accent'));
  if (m.drag) { c.strokeStyle = css('--bad'); c.setLineDash([5, 4]); c.lineWidth = 2;
    c.strokeRect(px(m.drag[0][0]), py(m.drag[1][1]), px(m.drag[1][0]) - px(m.drag[0][0]), py(m.drag[0][1]) - py(m.drag[1][1])); c.setLineDash([]); }
  c.restore();
  return {
    at: (x, y) => [m.x[0] + ((x - box[0]) / box[2]) * (m.x[1] - m.x[0]), m.y[0] + ((box[1] + box[3] - y) / box[3]) * (m.y[1] - m.y[0])],
    inside: (x, y) => x >= box[0] - 6 && x <= box[0] + box[2] + 6 && y >= box[1] - 6 && y <= box[1] + box[3] + 6,
    to: (x, y) => [px(x), py(y)],
  };
}

// Colours of Okabe and Ito (jfly.uni-koeln.de/color, 2008); on a dark ground the lighter blue comes first.
export function hue(k) {
  const light = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#7F7F7F'];
  const dark = ['#56B4E9', '#E69F00', '#2CC295', '#E39CC4', '#F0E442', '#6FA0E8', '#A0A0A0'];
  return (getComputedStyle(document.documentElement).colorScheme === 'dark' ? dark : light)[k % light.length];
}

// Curves over a common frame. Series: {x, y, colour, dots, line, step, low, high}.
export function drawLines(canvas, series, names, given = {}) {
  const [c, width, height] = prepare(canvas), box = [58, 8, width - 70, height - 50];
  const finite = (list) => list.filter((v) => v !== null && Number.isFinite(v));
  const reach = (list, fixed) => {
    if (fixed) return fixed;
    const all = finite(list);
    if (!all.length) return [0, 1];
    let low = all.reduce((a, b) => Math.min(a, b)), high = all.reduce((a, b) => Math.max(a, b));
    if (low === high) { const pad = Math.abs(low) * 0.1 || 1; low -= pad; high += pad; }
    const pad = 0.05 * (high - low);
    return [low - pad, high + pad];
  };
  const x = reach(series.flatMap((s) => s.x), given.x), y = reach(series.flatMap((s) => [...s.y, ...(s.low || []), ...(s.high || [])]), given.y);
  const px = (v) => box[0] + ((v - x[0]) / (x[1] - x[0])) * box[2], py = (v) => box[1] + box[3] - ((v - y[0]) / (y[1] - y[0])) * box[3];
  c.strokeStyle = css('--grid');
  for (const t of ticks(y[0], y[1], Math.max(2, Math.floor(box[3] / 45)))) { c.beginPath(); c.moveTo(box[0], py(t)); c.lineTo(box[0] + box[2], py(t)); c.stroke(); }
  c.save(); c.beginPath(); c.rect(...box); c.clip();
  for (const s of series) {
    if (s.low) {
      c.fillStyle = s.colour; c.globalAlpha = 0.2; c.beginPath();
      s.x.forEach((v, i) => c.lineTo(px(v), py(s.low[i])));
      for (let i = s.x.length - 1; i >= 0; i--) c.lineTo(px(s.x[i]), py(s.high[i]));
      c.fill(); c.globalAlpha = 1;
    }
    c.strokeStyle = s.colour; c.lineWidth = 2; c.setLineDash(s.dash || []);
    if (s.line !== false) {
      c.beginPath(); let last = null;
      s.x.forEach((v, i) => {
        if (s.y[i] === null || !Number.isFinite(s.y[i])) { last = null; return; }
        if (last === null) c.moveTo(px(v), py(s.y[i]));
        else { if (s.step) c.lineTo(px(v), py(last)); c.lineTo(px(v), py(s.y[i])); }
        last = s.y[i];
      });
      c.stroke();
    }
    c.setLineDash([]);
    if (s.dots) s.x.forEach((v, i) => { if (s.y[i] !== null && Number.isFinite(s.y[i])) { c.beginPath(); c.arc(px(v), py(s.y[i]), 3.2, 0, 7); c.fillStyle = s.colour; c.fill(); } });
  }
  c.restore();
  frame(c, box, x, y, names);
}

export function drawImage(canvas, image, name) {
  const [c, width, height] = prepare(canvas), rows = image.length, columns = image[0].length;
  const all = image.flat().filter((v) => v !== null && Number.isFinite(v));
  const low = all.reduce((a, b) => Math.min(a, b), Infinity), high = all.reduce((a, b) => Math.max(a, b), -Infinity);
  const size = Math.min((width - 110) / columns, (height - 16) / rows);
  image.forEach((row, i) => row.forEach((v, j) => {
    c.fillStyle = v === null ? css('--line') : colour('viridis', (v - low) / (high - low || 1));
    c.fillRect(20 + j * size, 8 + i * size, size + 0.6, size + 0.6);
  }));
  bar(c, [30 + columns * size, 8, rows * size], [low, high], 'viridis', name);
}
