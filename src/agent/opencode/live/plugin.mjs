// A plugin for OpenCode 1.18.33 that tells on stdout, as notifications among the frames of the
// Agent Client Protocol, what happens in its sessions: the protocol tells less, and tells texts
// that are void like any other. OpenCode calls it at each event of its bus, in order.

const PARTS = new Set(["text", "reasoning", "tool", "step-start", "step-finish"]);

const tell = (what, params) => {
  const frame = { jsonrpc: "2.0", method: `_agent_runner/${what}`, params };
  process.stdout.write(JSON.stringify(frame) + "\n");
};

export const AgentRunner = async (_input, options) => {
  tell("here", {});
  // the messages of the model, by their sessions
  const answers = new Map();
  const isAnswer = (session, message) => answers.get(session)?.has(message);
  return {
    event: async ({ event: { type, properties: of } }) => {
      const session = of?.sessionID;
      // they were for the start alone, not for what the agent runs
      if (type === "message.updated") for (const name of options?.unset ?? []) delete process.env[name];
      if (type === "message.updated" && of.info.role === "assistant") {
        const { id, summary, error } = of.info;
        const known = answers.get(session) ?? new Set();
        if (!known.has(id)) {
          answers.set(session, known.add(id));
          tell("message", { session, id, summary: summary === true });
        }
        if (error) tell("error", { session, error });
      } else if (type === "message.part.updated" && PARTS.has(of.part.type)) {
        const { part } = of;
        const isForModel = part.metadata?.compaction_continue === true;
        if (isForModel || isAnswer(session, part.messageID)) tell("part", { session, part });
      } else if (type === "message.part.delta" && of.field === "text") {
        if (!isAnswer(session, of.messageID)) return;
        tell("delta", { session, message: of.messageID, part: of.partID, text: of.delta });
      } else if (type === "session.status" && of.status.type === "retry") {
        tell("retry", { session, message: of.status.message });
      } else if (type === "session.error" && session) {
        tell("error", { session, error: of.error });
      } else if (type === "session.compacted") {
        tell("compacted", { session });
      } else if (type === "session.idle") {
        answers.delete(session);
      }
    },
  };
};
