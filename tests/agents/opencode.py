"""opencode."""

from agent import Agent, Tool


class Opencode(Agent):
    name = "opencode"
    package = "opencode-ai"
    version = "1.18.33"
    # It runs as a server that ends without an event.
    ends_session = False
    # Without a network it waits for the installation of its plugin package.
    patience = 240
    skipped = {"telemetry": "reports tokens by its plugin: see basic"}

    def shell(self, command):
        return Tool("bash", {"command": command, "description": "Run a command"}, "bash")

    def read(self, path):
        return Tool("read", {"filePath": path}, "read")

    def create(self, path, text):
        return Tool("write", {"filePath": path, "content": text}, "write")

    def delegate(self, prompt):
        return Tool("task", {"description": "Look around", "prompt": prompt, "subagent_type": "general"}, "task")

    def environment(self, sandbox):
        return {
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            "OPENCODE_DISABLE_SHARE": "1",
            "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        }

    def configure(self, sandbox, scenario):
        bash = {"*": "allow", "echo forbidden": "deny"} if scenario == "denied" else "allow"
        model = {"name": "Scripted", "limit": {"context": 100000, "output": 10000}, "cost": {"input": 3, "output": 15}}
        sandbox.write(
            "home/.config/opencode/opencode.json",
            {
                "autoupdate": False,
                "share": "disabled",
                "model": "tests/scripted-model",
                "small_model": "tests/scripted-model",
                "provider": {
                    "tests": {
                        "npm": "@ai-sdk/openai-compatible",
                        "name": "Tests",
                        "options": {"baseURL": "http://127.0.0.1:9101/v1", "apiKey": "key-of-the-tests"},
                        "models": {"scripted-model": model},
                    }
                },
                "permission": {"bash": bash, "edit": "allow"},
            },
        )

    def headless(self, prompt, scenario):
        return [self.path("node_modules/opencode-linux-x64/bin/opencode"), "run", "--auto", prompt]
