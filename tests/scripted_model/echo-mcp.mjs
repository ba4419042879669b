// An MCP server on stdin and stdout with one tool, `echo`, that gives back its argument `text`.
import { createInterface } from "node:readline";

const tool = {
  name: "echo",
  description: "Gives back a text",
  inputSchema: {
    type: "object",
    properties: { text: { type: "string" } },
    required: ["text"],
  },
};

function result({ method, params }) {
  switch (method) {
    case "initialize":
      return {
        protocolVersion: params.protocolVersion,
        capabilities: { tools: {} },
        serverInfo: { name: "echo", version: "1" },
      };
    case "tools/list":
      return { tools: [tool] };
    case "tools/call":
      return { content: [{ type: "text", text: `echo: ${params.arguments.text}` }] };
    default:
      return {};
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  if (request.id === undefined) continue;
  process.stdout.write(
    JSON.stringify({ jsonrpc: "2.0", id: request.id, result: result(request) }) + "\n",
  );
}
