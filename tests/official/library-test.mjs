// What is kept beside sessions, through the official client: it checks every answer by its schemas.
import assert from 'node:assert/strict';
import { checkFrame, join, rest } from './client.mjs';
import { lead as connectLead } from './lead.mjs';

const hub = process.argv[2];
const client = rest({ hub });

// Skills and buckets of them.
const skill = await client.saveSkill({ repo: 'acme/skills', skillId: 'review', name: 'Review' });
const custom = await client.createCustomSkill({ skillId: 'greet', name: 'Greet', content: '# Greet\n' });
const again = await client.saveSkill({ repo: 'acme/skills', skillId: 'review', name: 'Reviewing' });
assert.equal(again.id, skill.id);
assert.deepEqual((await client.listSavedSkills()).skills.map((s) => s.name), ['Reviewing', 'Greet']);
await assert.rejects(client.createSkillBucket({ name: 'b', savedSkillIds: ['skill_none'] }), /skill_none/);
const bucket = await client.createSkillBucket({ name: 'basics', savedSkillIds: [custom.id] });
assert.deepEqual([bucket.skillCount, bucket.skills[0].content], [1, '# Greet\n']);
assert.deepEqual((await client.listSkillBuckets()).buckets.map((b) => b.name), ['basics']);
const synced = await (await fetch(`${hub}/api/hub/skills`)).json();
assert.deepEqual(synced.skills, [{ path: 'greet/SKILL.md', content: '# Greet\n' }]);

// Agents: drafts, versions of them.
const draft = await client.createCustomAgent({
  slug: 'scout', displayName: 'Scout', instructions: 'Look around.', tools: ['read', 'grep'],
  savedSkillIds: [custom.id],
});
assert.deepEqual([draft.lifecycle, draft.hasUnpublishedChanges], ['draft', true]);
assert.equal(draft.savedSkills[0].skillId, 'greet');
await assert.rejects(client.createCustomAgent({
  slug: 'scout', displayName: 'Other', instructions: '',
}), /scout/);
const published = await client.publishCustomAgent('scout');
assert.deepEqual([published.lifecycle, published.latestPublishedVersion], ['published', 1]);
assert.equal((await client.publishCustomAgent('scout')).latestPublishedVersion, 1);
const edited = await client.updateCustomAgent('scout', { instructions: 'Look twice.', model: 'm' });
assert.equal(edited.hasUnpublishedChanges, true);
assert.equal((await client.publishCustomAgent(edited.id)).latestPublishedVersion, 2);
assert.deepEqual((await client.listCustomAgentVersions('scout')).versions.map((v) => v.version), [2, 1]);
assert.equal((await client.getCustomAgent('scout')).published.instructions, 'Look twice.');
assert.equal((await client.updateCustomAgent('scout', { model: null })).model, undefined);

// A workspace, and a session made from it.
await assert.rejects(fetch(`${hub}/api/hub/workspaces`, {
  method: 'POST', body: '{"name":"empty"}',
}).then(async (r) => { throw new Error(`${r.status} ${(await r.json()).message}`); }), /400 a workspace needs/);
const workspace = await client.createWorkspace({
  name: 'greeter', repos: [{ cloneUrl: 'https://git.example/a.git', branch: 'main' },
    { cloneUrl: 'https://git.example/b.git' }],
  setupScript: 'make deps', systemPrompt: 'Be brief.', savedSkillIds: [skill.id],
  skillBucketIds: [bucket.id], enabledAgents: ['scout'],
});
assert.deepEqual([workspace.repoCount, workspace.selectionCount, workspace.scope], [2, 5, 'user']);
assert.equal((await client.updateWorkspace(workspace.id, { description: 'd' })).description, 'd');
assert.equal((await client.refreshWorkspaceSnapshot(workspace.id)).snapshot.status, 'unavailable');
assert.equal((await client.getWorkspace(workspace.id)).setupScript, 'make deps');
assert.deepEqual((await client.listWorkspaces()).workspaces.map((w) => w.name), ['greeter']);
const checked = await client.validateWorkspaceDependencies(['git', 'a b']);
assert.deepEqual([checked.valid, checked.invalid[0].package], [['git'], 'a b']);
await assert.rejects(client.createSession({ task: 't', workspaceId: 'workspace_none' }), /workspace_none/);
const { sessionId: session } = await client.createSession({ task: 'go', workspaceId: workspace.id });
const detail = await client.getSession(session);
assert.deepEqual(detail.workspace, { id: workspace.id, name: 'greeter', scope: 'user' });
assert.deepEqual(detail.repos.map((r) => r.cloneUrl), ['https://git.example/a.git', 'https://git.example/b.git']);
assert.equal(detail.repo.branch, 'main');
assert.deepEqual(detail.skills.map((s) => s.skillId), ['review', 'greet']);
assert.equal(detail.setupScript, 'make deps');

// What its lead is told of it.
const lead = await connectLead({ hub, session });
assert.equal(lead.init.config.systemPromptSuffix, 'Be brief.');
assert.deepEqual(lead.init.agents.map((a) => [a.name, a.systemPrompt]), [['scout', 'Look twice.']]);

// A loop, as the lead tells of it.
const observer = await join({ hub, session, subscribe: ['loop'] });
lead.send({ id: 'l1', type: 'event', event: 'loop_started', data: { loopId: 'x', iteration: 1 } });
await observer.recorder.until('loop', (f) => f.event === 'loop_started');
const state = (await client.getLoopState(session)).loop;
assert.deepEqual([state.status, state.iteration, state.loopId], ['running', 1, 'x']);

// A prompt that takes the place of the agent's own.
await client.updateWorkspace(workspace.id, { systemPromptMode: 'overwrite' });
const other = await client.createSession({ task: 'go', workspaceId: workspace.id });
const second = await connectLead({ hub, session: other.sessionId });
assert.equal(second.init.config, undefined);
second.send({ id: 'b1', type: 'event', event: 'before_agent_start', data: { prompt: 'go' } });
assert.deepEqual((await second.acked('b1')).actions,
  [{ action: 'SYSTEM_PROMPT', systemPrompt: 'Be brief.', mode: 'replace' }]);

// Sessions in which agents are written.
const built = await client.createAgentBuilderSession({ targetAgentSlug: 'scout', prompt: 'sharper' });
const builder = await client.getSession(built.sessionId);
assert.deepEqual([builder.builder.mode, builder.builder.targetAgent.displayName], ['edit', 'Scout']);
await assert.rejects(client.createAgentBuilderSession({ sourceSessionId: 'codesess_none' }), /codesess_none/);

// Who and what there is beside.
assert.equal((await client.listUsers()).users.length, 1);
assert.equal((await client.listUsers({ search: 'nobody' })).users.length, 0);
assert.equal((await client.listGitHubAccounts()).connected, false);
assert.deepEqual((await client.listGitHubRepos('1')).repositories, []);
checkFrame(await (await fetch(`${hub}/api/hub/init`)).json());
const todos = await (await fetch(`${hub}/api/hub/session/${session}/todos`)).json();
assert.deepEqual([todos.ok, todos.count, todos.unavailable], [true, 0, true]);

// Removed, each is gone, and what was made from it stays as it was.
await client.deleteSkillBucket(bucket.id);
await client.deleteSavedSkill(custom.id);
await client.deleteWorkspace(workspace.id);
assert.equal((await client.archiveCustomAgent('scout')).lifecycle, 'archived');
assert.deepEqual((await client.listCustomAgents()).agents, []);
assert.equal((await client.listCustomAgents({ includeArchived: true })).agents.length, 1);
await assert.rejects(client.getWorkspace(workspace.id), /there is no workspace/);
await assert.rejects(client.deleteWorkspace(workspace.id), /there is no workspace/);
assert.equal((await client.getSession(session)).skills[1].content, '# Greet\n');
console.log('ok');
process.exit(0);
