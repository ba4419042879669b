// A small lead, spoken by hand over a raw socket: what the official driver sends, nothing of ours.
import WebSocket from 'ws';
import { Recorder } from './client.mjs';

export async function lead({ hub, session, driver = 'driver-1' }) {
  const url = new URL(`${hub.replace(/^http/, 'ws')}/api/ws`);
  const query = { sessionId: session, role: 'lead', driverMode: 'rpc', driverInstanceId: driver };
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const socket = new WebSocket(url);
  const recorder = new Recorder();
  socket.on('message', (data) => recorder.add(JSON.parse(data.toString())));
  socket.on('error', (error) => recorder.fail(error));
  const init = await recorder.until('init', (f) => f.type === 'init');
  let count = 0;
  const send = (frame) => socket.send(JSON.stringify(frame));
  /** Sends an event without waiting; gives its id. */
  const event = (name, data) => {
    const id = `${driver}-${(count += 1)}`;
    send({ id, type: 'event', event: name, data: { type: name, ...data, agentRole: 'lead' } });
    return id;
  };
  const acked = (id) => recorder.until(`answer to ${id}`, (f) => f.id === id);
  return { init, recorder, send, event, acked, close: () => socket.close(1000) };
}

const usage = {
  input: 10, output: 5, cacheRead: 0, cacheWrite: 0, totalTokens: 15,
  cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0, total: 0.01 },
};

/** One whole turn: prompt, thought, tool call with result, answer. Gives the last id. */
export function turn(lead, prompt, answer) {
  const user = { role: 'user', content: prompt, timestamp: Date.now() };
  const assistant = (content, stopReason, timestamp) => ({
    role: 'assistant', content, stopReason, timestamp, usage,
    api: 'anthropic-messages', provider: 'anthropic', model: 'scripted',
  });
  const call = { type: 'toolCall', id: 'call-1', name: 'bash', arguments: { command: 'ls' } };
  const first = assistant([{ type: 'thinking', thinking: 'look first' }, call], 'toolUse', user.timestamp + 1);
  const last = assistant([{ type: 'text', text: answer }], 'stop', user.timestamp + 2);
  const tool = { toolCallId: 'call-1', toolName: 'bash' };
  const output = [{ type: 'text', text: 'lib.rs\n' }];
  lead.event('session_start', { reason: 'startup' });
  lead.event('before_agent_start', { prompt, systemPrompt: '' });
  lead.event('agent_start', { agentName: 'lead' });
  lead.event('turn_start', { turnIndex: 0 });
  lead.event('message_start', { message: user });
  lead.event('message_end', { message: user });
  lead.event('message_start', { message: { ...first, content: [] } });
  lead.event('message_end', { message: first });
  lead.event('tool_execution_start', { ...tool, args: { command: 'ls' } });
  lead.event('tool_call', { ...tool, input: { command: 'ls' } });
  lead.event('tool_result', { ...tool, input: { command: 'ls' }, content: output, isError: false });
  lead.event('tool_execution_end', { ...tool, result: { content: output }, isError: false });
  lead.event('turn_end', { turnIndex: 0, message: first, toolResults: [] });
  lead.event('turn_start', { turnIndex: 1 });
  lead.event('message_start', { message: { ...last, content: [] } });
  lead.event('message_update', {
    message: last,
    assistantMessageEvent: { type: 'text_delta', contentIndex: 0, delta: answer },
  });
  lead.event('message_end', { message: last });
  lead.event('turn_end', { turnIndex: 1, message: last, toolResults: [] });
  return lead.event('agent_end', { agentName: 'lead', messages: [user, first, last] });
}
