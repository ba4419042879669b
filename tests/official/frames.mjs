// Checks the frames of a lead, one JSON text a line on stdin, by the official schemas:
//   node frames.mjs
// stdout  the kinds of frames and the names of events that were seen, then all names that there are
import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import * as coder from '@agentuity/core/coder';

/** What a driver sends and the client schema leaves out: controllers get it as it is. */
const OF_DRIVERS = new Set(['rpc_event', 'rpc_response', 'rpc_ui_request']);
const kinds = new Set();
const events = new Set();

const check = (schema, frame) => {
  const result = schema.safeParse(frame);
  assert.ok(result.success, `${JSON.stringify(frame).slice(0, 2000)}\n${result.error?.message}`);
};

for await (const line of createInterface({ input: process.stdin })) {
  const frame = JSON.parse(line);
  if (frame.type === undefined) {
    // The credentials, as the official client sends them: without a type, in no schema.
    assert.deepEqual(Object.keys(frame).sort(), ['authorization', 'org_id']);
    continue;
  }
  kinds.add(frame.type);
  check(OF_DRIVERS.has(frame.type) ? coder.ServerMessageSchema : coder.ClientMessageSchema, frame);
  if (frame.type === 'event') {
    check(coder.CoderHubEventNameSchema, frame.event);
    assert.equal(frame.data.type ?? frame.event, frame.event);
    events.add(frame.event);
  }
}
const names = coder.CoderHubEventNameSchema.options;
console.log(JSON.stringify({ kinds: [...kinds], events: [...events], names }));
