// Two ways to a host: in a worker of its own, or on the page.
import { RmnetError, posted, received, thrown } from './errors.js';
import { Host } from './host.js';

/** A host on the page. */
export class PagePort {
  #host = new Host();
  #inFlight = 0;
  #closed;

  async call(method, parameters, _handedOver, stage) {
    if (this.#closed) throw this.#closed;
    this.#inFlight += 1;
    try {
      const result = await this.#host[method](...parameters, ...(stage ? [stage] : []));
      if (this.#closed) throw this.#closed;
      return result;
    } catch (error) {
      throw this.#closed ?? thrown(error);
    } finally {
      this.#inFlight -= 1;
      this.#freeIfDone();
    }
  }

  /** What a call uses cannot be freed before it ends. */
  #freeIfDone() {
    if (this.#closed && !this.#inFlight) this.#host.free();
  }

  get gpu() {
    return this.#host.gpu;
  }

  close(reason) {
    this.#closed ??= reason;
    this.#freeIfDone();
  }
}

/** A host in a worker, which ends with it: its memory is given back. */
export class WorkerPort {
  #worker;
  #calls = new Map();
  #next = 0;
  #closed;

  constructor() {
    this.#worker = started();
    this.#worker.onmessage = ({ data: { id, stage, result, error } }) => {
      const call = this.#calls.get(id);
      if (stage !== undefined) return call?.stage?.(stage);
      this.#calls.delete(id);
      if (error) call?.reject(received(error));
      else call?.resolve(result);
      if (error?.code === 'crashed') this.close(received(error)); // nothing there can be used any more
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.close(new RmnetError('worker', `the worker failed: ${event.message || 'its script cannot be loaded'}`));
    };
  }

  call(method, parameters, handedOver = [], stage) {
    if (this.#closed) return Promise.reject(this.#closed);
    return new Promise((resolve, reject) => {
      const id = this.#next++;
      this.#calls.set(id, { resolve, reject, stage });
      this.#worker.postMessage({ id, method, parameters, staged: !!stage }, handedOver);
    });
  }

  get gpu() {
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

function started() {
  const here = new URL(import.meta.url);
  // In this form bundlers find the worker.
  if (here.origin === globalThis.location?.origin) return new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  // From another origin, such as a CDN, only a script of one's own may start it.
  const script = new Blob([`import ${JSON.stringify(new URL('worker.js', here).href)};`], { type: 'text/javascript' });
  const own = URL.createObjectURL(script);
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
      scope.postMessage({ id, error: posted(thrown(error)) });
    }
  };
}
