// The official remote TUI, unmodified, attached to a session:
//   node remote-tui.mjs HUB SESSION     (the Hub's key, if it wants one, in CODER_TEST_KEY)
import './loopback.mjs';

// Its package exports only the extension for Pi; the command line imports this file as well.
const { runRemoteTui } = await import('./node_modules/@agentuity/coder-tui/dist/remote-tui.js');
const [hub, sessionId] = process.argv.slice(2);
const hubWsUrl = `${hub.replace(/^http/, 'ws')}/api/ws`;
await runRemoteTui({ hubWsUrl, sessionId, apiKey: process.env.CODER_TEST_KEY });
process.exit(0);
