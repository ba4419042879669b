// Drives a Hub session with the official client from the command line:
//   node drive.mjs create  --hub URL --task TEXT [--fields JSON]           prints the session's id
//   node drive.mjs observe --hub URL --session ID [--role observer|controller] [--subscribe A,B]
//                          [--out FILE] [--until EVENT]                    JSON lines of frames
//   node drive.mjs stream  --hub URL --session ID [--subscribe A,B] [--out FILE] [--until EVENT]
//   node drive.mjs control --hub URL --session ID --send JSON…             prints the responses
//   node drive.mjs get|replay|history --hub URL --session ID               prints JSON
// Every frame is checked against the official schemas; the first that fails ends it with 1.
// `--until EVENT` ends after that broadcast; `--limit SECONDS` (default 120) bounds the wait.
import { appendFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { join, rest, stream } from './client.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    hub: { type: 'string' }, session: { type: 'string' }, key: { type: 'string' },
    task: { type: 'string' }, fields: { type: 'string', default: '{}' },
    role: { type: 'string', default: 'observer' }, subscribe: { type: 'string' },
    out: { type: 'string' }, until: { type: 'string' },
    limit: { type: 'string', default: '120' },
    send: { type: 'string', multiple: true, default: [] },
  },
});
const at = {
  hub: values.hub, session: values.session, apiKey: values.key,
  subscribe: values.subscribe?.split(','),
};
const limit = Number(values.limit) * 1000;
if (values.out) writeFileSync(values.out, '');
const onFrame = (frame) => {
  const line = `${JSON.stringify(frame)}\n`;
  if (values.out) appendFileSync(values.out, line);
  else process.stdout.write(line);
};
const wait = (recorder) =>
  recorder.until(values.until ?? 'end', (f) => f.event === values.until, limit);
const print = (value) => console.log(JSON.stringify(value));

const commands = {
  create: async () => {
    const body = { task: values.task ?? '', ...JSON.parse(values.fields) };
    console.log((await rest(at).createSession(body)).sessionId);
  },
  observe: async () => wait((await join({ ...at, role: values.role, onFrame })).recorder),
  stream: async () => wait(stream({ ...at, onFrame }).recorder),
  control: async () => {
    const controller = await join({ ...at, role: 'controller' });
    for (const text of values.send) print((await controller.command(JSON.parse(text))) ?? null);
    if (values.until) await wait(controller.recorder);
    controller.close();
  },
  get: async () => print(await rest(at).getSession(at.session)),
  replay: async () => print(await rest(at).getReplay(at.session)),
  history: async () => print(await rest(at).listEventHistory(at.session, { limit: 1000 })),
};
await commands[positionals[0]]();
process.exit(0);
