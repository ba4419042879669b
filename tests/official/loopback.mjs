// What the official terminal clients need before they are imported: a global WebSocket, which
// Node 20 lacks, and a `fetch` that reaches nothing but this machine (they look for a model
// gateway on the network, and a test must not).
import WebSocket from 'ws';

globalThis.WebSocket ??= WebSocket;
const reach = globalThis.fetch;
globalThis.fetch = (input, init) => {
  const { hostname } = new URL(input instanceof Request ? input.url : input);
  const isHere = ['localhost', '127.0.0.1', '[::1]'].includes(hostname);
  return isHere ? reach(input, init) : Promise.reject(new Error(`${hostname} is not this machine`));
};
