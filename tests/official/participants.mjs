// The participants of one session, all of them the official client's, driven line by line:
//   node participants.mjs HUB     (the Hub's key, if it wants one, in CODER_TEST_KEY)
// stdin   {"id": 1, "do": "create" | "join" | "command" | "send" | "answer" | "rename" | "get" | "replay" | "list" | "history", …}
// stdout  {"id": 1, "value": …} or {"id": 1, "error": "…"} for each request, in any order
//         {"from": "observer" | "stream" | "controller", "frame": {…}} for each frame that came
//         {"fault": "…"} for a frame that no official schema admits, or a connection that failed
import { createInterface } from 'node:readline';
import { join, rest, stream } from './client.mjs';

const hub = process.argv[2];
const apiKey = process.env.CODER_TEST_KEY;
const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const NEVER = 2 ** 31 - 1;
let session;
let controller;

/** Frames are printed as they come; the first that is wrong is told instead. */
const follow = (from) => (frame) => print({ from, frame });
const watch = ({ recorder }) => recorder
  .until('fault', () => false, NEVER)
  .catch((error) => print({ fault: String(error.message ?? error) }));

const requests = {
  create: async ({ body }) => {
    session = (await rest({ hub, apiKey }).createSession(body)).sessionId;
    return session;
  },
  join: async ({ session: other }) => {
    session = other ?? session;
    const at = { hub, apiKey, session };
    const sse = stream({ ...at, subscribe: ['*'], onFrame: follow('stream') });
    watch(sse);
    const observer = await join({ ...at, subscribe: ['*'], onFrame: follow('observer') });
    watch(observer);
    controller = await join({ ...at, role: 'controller', onFrame: follow('controller') });
    watch(controller);
    await sse.recorder.until('hydration', (f) => f.type === 'hydration');
  },
  command: async ({ command }) => controller.command(command),
  send: async ({ command }) => controller.send({ type: 'rpc_command', command }),
  answer: async ({ ui, result }) => controller.send({ type: 'rpc_ui_response', id: ui, result }),
  // For a lead that answers no commands.
  tell: async ({ command }) => { controller.send({ type: 'rpc_command', command }); },
  list: async () => rest({ hub, apiKey }).listSessions(),
  resume: async () => rest({ hub, apiKey }).resumeSession(session),
  rename: async ({ label }) => rest({ hub, apiKey }).updateSession(session, { label }),
  get: async () => rest({ hub, apiKey }).getSession(session),
  replay: async () => rest({ hub, apiKey }).getReplay(session),
  history: async () => rest({ hub, apiKey }).listEventHistory(session, { limit: 1000 }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  requests[request.do](request).then(
    (value) => print({ id: request.id, value: value ?? null }),
    (error) => print({ id: request.id, error: String(error.message ?? error) }),
  );
}
process.exit(0);
