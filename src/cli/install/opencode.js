// hooks-backend: sends the events of opencode sessions to {{url}}.
// Written by 'hooks-backend install opencode'; 'hooks-backend uninstall opencode' removes it.
import { spawnSync } from "node:child_process"

const PROGRAM = {{program}}
const URL = {{json_url}}

export const HooksBackend = async ({ directory }) => {
  // The payload is in a file before this returns; another process sends it.
  const send = (type, properties, isLast) => {
    try {
      const payload = { type, timestamp: new Date().toISOString(), cwd: directory, properties }
      const args = ["emit", "--agent", "opencode", "--url", URL]
      if (!isLast) args.push("--background")
      const stdio = ["pipe", "ignore", "ignore"]
      spawnSync(PROGRAM, args, { input: JSON.stringify(payload), stdio, timeout: 4000 })
    } catch {
      // opencode must go on.
    }
  }
  const SESSION = ["session.created", "session.idle", "session.error", "session.compacted", "session.deleted"]
  const reported = new Set()
  const once = (key) => !reported.has(key) && reported.add(key)
  return {
    event: async ({ event: { type, properties } }) => {
      if (SESSION.includes(type) || type.startsWith("permission.")) {
        send(type, properties, type === "session.idle" || type === "session.error")
      } else if (type === "message.updated") {
        // Updated with every piece of the answer; the tokens are complete at its end.
        const info = properties.info
        if (info?.role === "assistant" && info.time?.completed && once(info.id)) send(type, properties)
      } else if (type === "message.part.updated") {
        // Failed tools have no "tool.execute.after".
        const part = properties.part
        if (part?.type === "tool" && part.state?.status === "error" && once(part.id)) send(type, properties)
      }
    },
    "chat.message": async (input, output) => send("chat.message", { ...input, ...output }),
    "tool.execute.before": async (input, output) => send("tool.execute.before", { ...input, ...output }),
    "tool.execute.after": async (input, output) => send("tool.execute.after", { ...input, ...output }),
  }
}
