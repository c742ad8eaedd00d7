// Two ways to a host: in a worker of its own, or on the page.
import { RmnetError, posted, received, thrown } from './errors.js';
import { Host } from './host.js';

/** A host on the page. */
export class PagePort {
  #host = new Host();
  #closed;

  async call(method, parameters, _handedOver, stage) {
    if (this.#closed) throw this.#closed;
    try {
      const result = await this.#host[method](...parameters, ...(stage ? [stage] : []));
      if (this.#closed) throw this.#closed;
      return result;
    } catch (error) {
      throw thrown(error);
    }
  }

  get gpu() {
    return this.#host.gpu;
  }

  close(reason) {
    if (this.#closed) return;
    this.#closed = reason;
    this.#host.free();
  }
}

/** A host in a worker, which ends with it: its memory is given back. */
export class WorkerPort {
  #worker;
  #calls = new Map();
  #next = 0;
  #closed;

  constructor() {
    this.#worker = worker(new URL('./worker.js', import.meta.url));
    this.#worker.onmessage = ({ data: { id, stage, result, error } }) => {
      const call = this.#calls.get(id);
      if (stage !== undefined) return call?.stage?.(stage);
      this.#calls.delete(id);
      if (error) call?.reject(received(error));
      else call?.resolve(result);
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

function worker(url) {
  if (url.origin === globalThis.location?.origin) return new Worker(url, { type: 'module' });
  // From another origin, such as a CDN, only a script of one's own may start it.
  const script = new Blob([`import ${JSON.stringify(url.href)};`], { type: 'text/javascript' });
  const own = URL.createObjectURL(script);
  const started = new Worker(own, { type: 'module' });
  setTimeout(() => URL.revokeObjectURL(own), 60_000); // once it is loaded
  return started;
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
