// Two ways to a host: in a worker of its own, or on the page.
import { RmnetError, crash, errorFromMessage, errorToMessage, toRmnetError } from './errors.js';
import { Host } from './host.js';
import { unreadable } from './pixels.js';

/** Ports of this page, and why none can be used any more: a panic leaves WebAssembly's memory as it was in the middle of something. */
const pagePorts = new Set();
let crashed;

function crashPage(error) {
  crashed ??= crash(error);
  pagePorts.forEach((port) => port.fail(crashed));
}

/** A host on the page. */
export class PagePort {
  #host = new Host();
  #inFlight = 0;
  #closed = crashed;
  #failed = Promise.withResolvers ? Promise.withResolvers() : withResolvers();

  constructor() {
    this.#failed.promise.catch(() => {}); // those who call see it
    if (!pagePorts.size) globalThis.addEventListener('error', onPageError);
    pagePorts.add(this);
  }

  async call(method, parameters, _transferred, stage) {
    if (this.#closed) throw this.#closed;
    this.#inFlight += 1;
    const work = async () => this.#host[method](...parameters, ...(stage ? [stage] : []));
    const done = work().finally(() => {
      this.#inFlight -= 1;
      this.#freeIfDone();
    });
    try {
      const result = await Promise.race([done, this.#failed.promise]);
      if (this.#closed) throw this.#closed;
      return result;
    } catch (error) {
      if (error instanceof WebAssembly.RuntimeError) crashPage(error);
      throw this.#closed ?? toRmnetError(error);
    }
  }

  /** Buffers on the GPU, lent while the port is open. */
  gpu() {
    const lend = (what) => {
      if (this.#closed) throw this.#closed;
      try {
        return what(this.#host.network);
      } catch (error) {
        throw toRmnetError(error);
      }
    };
    return {
      get device() { return lend((network) => network.gpu_device); },
      get input() { return lend((network) => network.gpu_input()); },
      get output() { return lend((network) => network.gpu_output()); },
      submit: () => lend((network) => network.submit()),
    };
  }

  /** Frees the host once the last call has ended. */
  #freeIfDone() {
    if (!this.#closed || this.#inFlight || crashed) return;
    this.#host.free();
  }

  close(reason) {
    this.#closed ??= reason;
    pagePorts.delete(this);
    if (!pagePorts.size) globalThis.removeEventListener('error', onPageError);
    this.#freeIfDone();
  }

  /** Ends every call: nothing will answer. */
  fail(error) {
    this.#closed = error;
    this.#failed.reject(error);
  }
}

/** A panic in the middle of a future ends in an event: no promise hears of it. */
function onPageError({ error }) {
  if (error instanceof WebAssembly.RuntimeError) crashPage(error);
}

function withResolvers() {
  const made = {};
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
  return made;
}

/** A host in a worker, which ends with it: its memory is given back. */
export class WorkerPort {
  #worker;
  #calls = new Map();
  #next = 0;
  #answered = false;
  #closed;

  /** `script` is the URL of `worker.js`, where a bundler has put it elsewhere. */
  constructor(script) {
    try {
      this.#worker = startWorker(script);
    } catch (cause) {
      throw new RmnetError('worker', `the worker cannot be started: ${cause.message}`, { cause });
    }
    this.#worker.onmessage = ({ data }) => this.#receive(data);
    this.#worker.onmessageerror = () => this.close(new RmnetError('worker', 'an answer of the worker cannot be read'));
    this.#worker.onerror = (event) => {
      event.preventDefault();
      const why = event.message || 'its script cannot be loaded';
      // Once it has answered, only a panic reaches this.
      this.close(this.#answered ? crash(why) : new RmnetError('worker', `the worker cannot be started: ${why}`));
    };
  }

  #receive({ id, stage, result, error }) {
    this.#answered = true;
    const call = this.#calls.get(id);
    if (stage !== undefined) return call?.stage?.(stage);
    this.#calls.delete(id);
    if (!error) return call?.resolve(result);
    call?.reject(errorFromMessage(error));
    if (error.code === 'crashed') this.close(errorFromMessage(error));
  }

  async call(method, parameters, transferred = [], stage) {
    if (this.#closed) throw this.#closed;
    const id = this.#next++;
    const answer = new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject, stage }));
    try {
      this.#worker.postMessage({ id, method, parameters, staged: !!stage }, transferred);
    } catch (cause) {
      this.#calls.delete(id);
      // What cannot be posted is an image that the page may not read.
      throw cause.name === 'DataCloneError' ? unreadable(cause) : toRmnetError(cause);
    }
    return answer;
  }

  gpu() {
    return undefined;
  }

  close(reason) {
    if (this.#closed) return;
    this.#closed = reason;
    this.#worker.terminate();
    for (const { reject } of this.#calls.values()) reject(reason);
    this.#calls.clear();
  }
}

function startWorker(script) {
  const here = new URL(import.meta.url);
  const url = script ? new URL(script, globalThis.document?.baseURI ?? here) : new URL('worker.js', here);
  // In this form bundlers find the worker.
  if (!script && here.origin === globalThis.location?.origin) return new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  if (url.origin === globalThis.location?.origin) return new Worker(url, { type: 'module' });
  // From another origin, such as a CDN, only a script of one's own may start it.
  const text = new Blob([`import ${JSON.stringify(url.href)};`], { type: 'text/javascript' });
  const own = URL.createObjectURL(text);
  const worker = new Worker(own, { type: 'module' });
  setTimeout(() => URL.revokeObjectURL(own), 60_000); // once it is loaded
  return worker;
}

/** Answers the calls of a `WorkerPort`, in the worker. */
export function serve(scope) {
  const host = new Host();
  scope.onmessage = async ({ data: { id, method, parameters, staged } }) => {
    try {
      const stage = staged ? [(stage) => scope.postMessage({ id, stage })] : [];
      const result = await host[method](...parameters, ...stage);
      scope.postMessage({ id, result }, result instanceof Float32Array ? [result.buffer] : []);
    } catch (error) {
      scope.postMessage({ id, error: errorToMessage(toRmnetError(error)) });
    }
  };
}
