// One session from creation to deletion, every participant but the lead the official client's.
import assert from 'node:assert/strict';
import { CODER_WS_CLOSE_CODE, join, rest, stream } from './client.mjs';
import { lead as connectLead, turn } from './lead.mjs';

const hub = process.argv[2];
const client = rest({ hub });
const repo = { cloneUrl: 'https://git.example/a.git', branch: 'main' };
const created = await client.createSession({
  task: 'fix the bug', label: 'Bug', tags: ['urgent'], repo, visibility: 'private',
  metadata: { ticket: 'AB-12' },
});
const session = created.sessionId;
assert.equal(created.status, 'created');
const listed = await client.listSessions({ search: 'bug' });
assert.equal(listed.total, 1);
for (const search of ['URGENT', 'ab-12']) assert.equal((await client.listSessions({ search })).total, 1);
assert.equal(listed.sessions[0].sessionId, session);
assert.equal(listed.sessions[0].bucket, 'provisioning');
assert.equal((await client.getSession(session)).repo.cloneUrl, repo.cloneUrl);

const observer = await join({ hub, session });
const tasksOnly = await join({ hub, session, subscribe: ['tool', 'agent_*'] });
const controller = await join({ hub, session, role: 'controller' });
const second = await join({ hub, session, role: 'controller' });
const sse = stream({ hub, session, subscribe: ['*'] });
await sse.recorder.until('hydration', (f) => f.type === 'hydration');

// No lead: a command is refused in the words by which viewers know a paused session.
controller.send({ type: 'rpc_command', command: { type: 'abort' } });
const refused = await controller.recorder.until('refusal', (f) => f.type === 'rpc_command_error');
assert.match(refused.error, /resume/i);
await assert.rejects(second.command({ type: 'get_state', id: 'q0' }), /resume/i);

const lead = await connectLead({ hub, session });
assert.equal(lead.init.task, 'fix the bug');
const lastId = turn(lead, 'fix the bug', 'all done');
assert.deepEqual((await lead.acked(lastId)).actions, [{ action: 'ACK' }]);
const ended = (f) => f.event === 'agent_end';
for (const viewer of [observer, tasksOnly, controller, second, sse]) {
  await viewer.recorder.until('agent_end', ended);
}
const fromLead = (recorder) => recorder.frames.filter((f) => f.data?.agentRole === 'lead');
const shown = fromLead(observer.recorder);
assert.equal(shown.length, 19);
assert.deepEqual(fromLead(controller.recorder), shown);
assert.deepEqual(fromLead(sse.recorder), shown);
const filtered = fromLead(tasksOnly.recorder).map((f) => f.event);
assert.deepEqual(filtered, ['agent_start', 'tool_execution_start', 'tool_call', 'tool_result',
  'tool_execution_end', 'agent_end']);
assert.deepEqual(shown.find((f) => f.event === 'tool_call').data, {
  type: 'tool_call', toolCallId: 'call-1', toolName: 'bash', input: { command: 'ls' }, agentRole: 'lead',
});

// Remote control: to the lead, its answer back, the prompt shown to everyone else.
const asked = controller.command({ type: 'get_state', id: 'q1' });
const atLead = await lead.recorder.until('get_state', (f) => f.command?.type === 'get_state');
lead.send({ type: 'rpc_response', response: {
  type: 'response', id: atLead.command.id, command: 'get_state', success: true, data: { isStreaming: false },
} });
assert.equal((await asked).data.isStreaming, false);
controller.send({ type: 'rpc_command', command: { type: 'prompt', message: 'and now?' } });
await lead.recorder.until('prompt', (f) => f.command?.message === 'and now?');
const prompt = await second.recorder.until('user_prompt', (f) => f.event === 'user_prompt');
assert.equal(prompt.data.content, 'and now?');
lead.send({ type: 'rpc_ui_request', id: 'u1', method: 'confirm', params: { title: 'T', message: 'M' } });
await controller.recorder.until('ui request', (f) => f.event === 'rpc_ui_request');
controller.send({ type: 'rpc_ui_response', id: 'u1', result: true });
const answered = await lead.recorder.until('ui response', (f) => f.type === 'rpc_ui_response');
assert.equal(answered.result, true);
assert.ok(!controller.recorder.events().includes('user_prompt'), 'a prompt came back to its sender');

// What is kept.
const replay = await client.getReplay(session);
assert.deepEqual(replay.entries.map((e) => e.type),
  ['user_prompt', 'thinking', 'tool_call', 'tool_result', 'message']);
assert.equal(replay.entries.at(-1).content, 'all done');
const history = await client.listEventHistory(session, { limit: 1000, offset: 0 });
assert.equal(history.total, history.events.length);
const isPresence = (e) => ['session_join', 'session_leave'].includes(e.event);
// The 19 of the turn, and the prompt of a controller, which the Hub has told the others.
const happened = history.events.filter((e) => !isPresence(e));
assert.equal(happened.length, 20);
assert.equal(happened.at(-1).event, 'user_prompt');
assert.deepEqual(history.events.filter(isPresence).map((e) => e.payload.participant.role).sort(),
  ['controller', 'controller', 'lead', 'observer', 'observer', 'observer']);
const page = await client.listEventHistory(session, { limit: 5, offset: history.events.indexOf(happened[1]) });
assert.deepEqual(page.events.map((e) => e.event),
  ['before_agent_start', 'agent_start', 'turn_start', 'message_start', 'message_end']);
const last = await client.listEventHistory(session, { limit: 1 });
assert.equal(last.events[0].id, history.events.at(-1).id);
assert.equal(replay.entriesSource, 'event_history');
assert.deepEqual(replay.sourceCounts, { durableStream: 0, sessionEntries: 0, eventHistory: 5 });
assert.equal((await client.listSessions({ search: 'nowhere' })).total, 0);
const { participants } = await client.listParticipants(session);
assert.deepEqual(participants.map((p) => p.role).sort(),
  ['controller', 'controller', 'lead', 'observer', 'observer', 'observer']);
const late = await join({ hub, session, role: 'controller' });
const hydration = late.recorder.frames.find((f) => f.type === 'session_hydration');
assert.deepEqual(hydration.entries, replay.entries);
assert.equal(hydration.leadConnected, true);
assert.equal(hydration.streamingState.isStreaming, false);
late.close();
assert.equal((await client.getLoopState(session)).loop, null);
const changed = await client.updateSession(session, { label: 'Renamed', tags: ['a', 'b'] });
assert.equal(changed.label, 'Renamed');
await lead.recorder.until('label', (f) => f.event === 'session_label_updated');
assert.equal((await client.getSession(session)).status, 'idle');

// What the command line does before it attaches.
assert.deepEqual((await client.listConnectableSessions()).sessions.map((s) => s.sessionId), [session]);
assert.equal((await client.prepareSessionForRemoteAttach(session)).runtimeAvailable, true);

// The lead leaves: paused. Resume marks; archive ends; delete removes.
lead.close();
await observer.recorder.until('leave', (f) => f.event === 'session_leave' && f.participant.role === 'lead');
const paused = await client.getSession(session);
assert.deepEqual([paused.status, paused.bucket, paused.wakeAvailable], ['paused', 'paused', false]);
await assert.rejects(client.resumeSession(session), /cannot be resumed: .*start that where it ran/);
await client.archiveSession(session);
assert.equal((await client.getSession(session)).historyOnly, true);
assert.equal((await client.listSessions()).total, 0);
assert.equal((await client.listSessions({ includeArchived: true })).total, 1);
await assert.rejects(join({ hub, session }), (error) =>
  error.serverCode === 'session_archived' || error.closeCode === CODER_WS_CLOSE_CODE.FORBIDDEN);
await client.deleteSession(session);
await assert.rejects(client.getSession(session));
sse.close();
console.log('ok');
process.exit(0);
