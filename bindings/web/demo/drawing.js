// The network as a chain of blocks, as it was trained and as it runs.

const WIDTH = 150;
const HEIGHT = 168;
const TOP = 74;

const element = (name, attributes, text) => {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
};

/** An SVG of the blocks: `removed` draws them as they run, else as they were trained. */
export function chain(blocks, removed) {
  const svg = element('svg', { width: blocks.length * WIDTH + 40, height: HEIGHT, role: 'img' });
  svg.append(element('title', {}, `${blocks.length} blocks, ${removed ? 'as they run' : 'as trained'}`));
  svg.append(element('path', { class: 'flow', d: `M4 ${TOP + 20}H20` }));
  blocks.forEach((block, i) => svg.append(...drawn(block, 20 + i * WIDTH, removed && block.outcome !== 'kept')));
  return svg;
}

function drawn(block, x, removed) {
  const layers = Math.min(block.convolutions ?? 2, 4); // more would not be told apart
  const width = (WIDTH - 40) / layers - 8;
  const y = TOP + 20;
  const parts = [element('text', { class: 'name', x: x + 4, y: HEIGHT - 8 }, block.name)];
  const carried = block.reservedChannels ?? 0;
  parts.push(element('path', { class: 'flow', d: `M${x} ${y}h${WIDTH}` }));
  for (let i = 0; i < layers; i++) {
    const left = x + 14 + i * (width + 8);
    parts.push(element('rect', { class: block.outcome === 'kept' ? 'kept' : 'layer', x: left, y: y - 20, width, height: 40, rx: 6 }));
    // What the layer hands on beside its own channels; the last one merges it.
    if (removed && carried && i < layers - 1) {
      parts.push(element('rect', { class: 'carried', x: left, y: y - 34, width: width + 8, height: 12, rx: 3 }));
    }
    if (removed && carried && i === layers - 1) {
      parts.push(element('path', { class: 'skip', d: `M${left} ${y - 28}q6 0 6 8` }));
    }
  }
  if (!removed) {
    const end = x + WIDTH - 18;
    parts.push(element('path', { class: 'skip', d: `M${x + 5} ${y}C${x + 5} ${y - 70} ${end} ${y - 70} ${end} ${y - 9}` }));
    parts.push(element('circle', { class: 'add', cx: end, cy: y, r: 9 }));
    parts.push(element('text', { x: end, y: y + 4, 'text-anchor': 'middle' }, '+'));
    if (block.shortcut && block.shortcut !== 'identity') {
      parts.push(element('text', { class: 'name', x: x + WIDTH / 2, y: 18, 'text-anchor': 'middle' }, block.shortcut));
    }
  } else if (carried) {
    parts.push(element('text', { class: 'name', x: x + 14, y: 34 }, `${carried} carried`));
  }
  const hint = element('title', {}, `${block.name}: ${block.text}`);
  const group = element('g', {});
  group.append(hint, ...parts);
  return [group];
}
