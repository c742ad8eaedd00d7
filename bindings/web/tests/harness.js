// A few lines of a test harness: tests run one after another and are reported to run.py.
const tests = [];
export const query = new URLSearchParams(location.search);

export const test = (name, body) => tests.push({ name, body });

export function check(condition, message) {
  if (!condition) throw new Error(message);
}

export function same(found, expected, what = 'value') {
  const [a, b] = [found, expected].map((value) => JSON.stringify(value));
  check(a === b, `${what}: expected ${b}, found ${a}`);
}

/** What a promise rejects with. */
export async function refusal(promise) {
  let value;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`expected a refusal, found ${String(value)}`);
}

/** Tells run.py. */
export const report = (kind, text, more = {}) =>
  fetch('/report', { method: 'POST', body: JSON.stringify({ kind, text, ...more }) });
export const note = (text) => report('note', `    ${text}`);

export async function run() {
  await report('note', navigator.userAgent);
  const chosen = tests.filter(({ name }) => name.includes(query.get('only') ?? ''));
  for (const { name, body } of chosen) {
    const start = performance.now();
    const seconds = () => `${((performance.now() - start) / 1000).toFixed(1)} s`;
    try {
      await body();
      await report('passed', `ok ${name} (${seconds()})`);
    } catch (error) {
      await report('failed', `FAILED ${name} (${seconds()}): ${error.code ?? ''} ${error}\n${error.stack ?? ''}`);
    }
  }
  await report('end', '', { tests: chosen.length });
}
