// Times one contender, named in the URL, and posts what it finds to run.py.
//
// A contender is a module of contenders/ with `layout` ('nchw' or 'nhwc') and `load(variant)`, which imports its library, loads the
// network and resolves to { device, run }. `run(Float32Array)` resolves to the logits on the host.
const query = new URLSearchParams(location.search);
const report = (value) => fetch('/report', { method: 'POST', body: JSON.stringify({ page: query.get('page'), ...value }) });
const file = async (name) => (await fetch(`/network/${name}`)).arrayBuffer();

function difference(logits, expected) {
  if (logits?.length !== expected.length) throw new Error(`expected ${expected.length} logits, found ${logits?.length}`);
  let [error, largest] = [0, 0];
  for (const [i, value] of expected.entries()) {
    if (!Number.isFinite(logits[i])) throw new Error(`logit ${i} is ${logits[i]}`);
    error = Math.max(error, Math.abs(logits[i] - value));
    largest = Math.max(largest, Math.abs(value));
  }
  return error / largest;
}

async function measure() {
  const [module, variant] = query.get('contender').split(':');
  const [runs, seconds, warm] = ['runs', 'seconds', 'warm'].map((name) => Number(query.get(name)));
  const { layout, load } = await import(`./contenders/${module}.js`);
  const input = new Float32Array(await file(`input.${layout}.f32`));
  const expected = new Float64Array(await file('expected.f64'));
  await report({ kind: 'start' });

  const start = performance.now();
  const { device, run } = await load(variant);
  const loaded = performance.now() - start;
  await report({ kind: 'loaded', ms: loaded });
  const before = performance.now();
  const logits = await run(input);
  const first = performance.now() - before;
  const error = difference(logits, expected);
  await report({ kind: 'first', ms: loaded + first, error });

  // Warm-up counts against the limit, so that a slow contender has fewer runs: one at least.
  let [total, last] = [0, logits];
  const timed = async () => {
    const from = performance.now();
    last = await run(input);
    total += performance.now() - from;
    return performance.now() - from;
  };
  for (let i = 0; i < warm && total < (seconds * 1000) / 4; i++) await timed();
  await report({ kind: 'warm' });
  const times = [await timed()];
  while (times.length < runs && total < seconds * 1000) times.push(await timed());
  await report({
    kind: 'done', device, times, error: Math.max(error, difference(last, expected)), isolated: crossOriginIsolated,
    agent: navigator.userAgent,
  });
}

measure().catch((error) => report({ kind: 'failed', text: String(error?.stack ?? error).slice(0, 2000) }));
