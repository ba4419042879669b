// The official Coder client, with every frame that it receives checked against its own schemas.
//
// Node 20 has no WebSocket of its own, and the client takes the global one: it gets a `ws` that
// shows us each raw frame first, also those that the client would drop without a word.
import { AsyncLocalStorage } from 'node:async_hooks';
import WebSocket from 'ws';

// Follows a client into its reconnects, which happen on timers of its own.
const tap = new AsyncLocalStorage();
class TappedWebSocket extends WebSocket {
  constructor(...args) {
    super(...args);
    const listener = tap.getStore();
    this.on('message', (data) => listener?.(JSON.parse(data.toString())));
  }
}
globalThis.WebSocket = TappedWebSocket;

const coder = await import('@agentuity/core/coder');
export const { CoderClient, CODER_WS_CLOSE_CODE } = coder;

/** The frames that the Hub sends to controllers though the public union leaves them out. */
const OUTSIDE_THE_UNION = new Set(['rpc_command_error']);

/** Throws, with the schema's own complaint, unless `frame` is a server message. */
export function checkFrame(frame) {
  if (OUTSIDE_THE_UNION.has(frame.type)) {
    if (typeof frame.error !== 'string') throw new Error(`bad frame ${JSON.stringify(frame)}`);
    return;
  }
  const result = coder.ServerMessageSchema.safeParse(frame);
  if (!result.success) {
    const text = JSON.stringify(frame).slice(0, 2000);
    throw new Error(`not a server message: ${text}\n${result.error.message}`);
  }
}

/** The official REST client. */
export function rest({ hub, apiKey }) {
  return new CoderClient({ url: hub, apiKey, region: 'local' });
}

/** Frames as they come, and waiting for one of them. */
export class Recorder {
  frames = [];
  #waiting = new Set();
  #failure = null;

  add(frame) {
    this.frames.push(frame);
    for (const wait of [...this.#waiting]) wait();
  }

  fail(error) {
    this.#failure ??= error;
    for (const wait of [...this.#waiting]) wait();
  }

  /** The first frame that `matches`, recorded already or within `limitMs`. */
  until(what, matches, limitMs = 20000) {
    return new Promise((resolve, reject) => {
      const settle = (done, value) => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        done(value);
      };
      const look = () => {
        if (this.#failure) return settle(reject, this.#failure);
        const found = this.frames.find(matches);
        if (found) settle(resolve, found);
      };
      const timer = setTimeout(() => {
        const seen = this.frames.map((f) => f.event ?? f.type).join(' ');
        settle(reject, new Error(`no ${what} in ${limitMs} ms; seen: ${seen}`));
      }, limitMs);
      this.#waiting.add(look);
      look();
    });
  }

  /** The broadcasts' event names, in order. */
  events() {
    return this.frames.filter((f) => f.type === 'broadcast').map((f) => f.event);
  }
}

/**
 * Joins as observer or controller through the official WebSocket client. Resolves when it is
 * connected (a controller: hydrated); gives `{recorder, client, send, close}`.
 */
export async function join({ hub, session, apiKey, role = 'observer', subscribe, onFrame }) {
  const recorder = new Recorder();
  const listener = (frame) => {
    try {
      checkFrame(frame);
      onFrame?.(frame);
      recorder.add(frame);
    } catch (error) {
      recorder.fail(error);
    }
  };
  const client = new coder.CoderHubWebSocketClient({
    url: hub,
    apiKey,
    sessionId: session,
    role,
    subscribe,
    region: 'local',
    onInit: () => {
      if (role === 'controller') client.send({ type: 'bootstrap_ready' });
    },
    onError: (error) => recorder.fail(error),
  });
  tap.run(listener, () => client.connect());
  await recorder.until('init', (f) => f.type === 'init');
  await recorder.until('session_hydration', (f) => f.type === 'session_hydration');
  return {
    recorder,
    client,
    send: (message) => client.send(message),
    /** Sends an `rpc_command`; with `id` in it, resolves to the lead's `rpc_response`. */
    command: async (command) => {
      const before = new Set(recorder.frames);
      client.send({ type: 'rpc_command', command });
      if (command.id === undefined) return undefined;
      const answer = await recorder.until(
        `response to ${command.type}`,
        (f) => !before.has(f) && (f.type === 'rpc_command_error'
          || (f.event === 'rpc_response' && f.data.response.id === command.id)),
      );
      if (answer.type === 'rpc_command_error') throw new Error(answer.error);
      return answer.data.response;
    },
    close: () => client.close(),
  };
}

/** Follows the session's event stream through the official iterator, which checks each event. */
export function stream({ hub, session, apiKey, subscribe, onFrame }) {
  const recorder = new Recorder();
  const abort = new AbortController();
  const run = async () => {
    const options = { url: hub, apiKey, sessionId: session, subscribe, region: 'local' };
    const events = coder.streamCoderSessionSSE({ ...options, signal: abort.signal });
    for await (const { data } of events) {
      const result = coder.ObserverSseMessageSchema.safeParse(data);
      if (!result.success) throw result.error;
      onFrame?.(data);
      recorder.add(data);
    }
  };
  run().catch((error) => {
    if (!abort.signal.aborted) recorder.fail(error);
  });
  return { recorder, close: () => abort.abort() };
}
