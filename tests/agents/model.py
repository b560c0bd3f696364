"""A scripted model: it answers the model APIs of coding agents with prepared turns.

Anthropic Messages, OpenAI Responses, OpenAI Chat Completions and Gemini, each as one JSON document or as
Server-Sent Events. The server keeps no conversation: the request says how far it has got. The newest user message with
a marker, such as `[main]`, selects the script; the number of model turns after it selects the turn. Retries, resumed
sessions and sub-agents therefore get the turn they need.
"""

import gzip
import http.server
import itertools
import json
import re
import threading
import time

MARKER = re.compile(r"\[(main|sub|again)\]")
# The model that agents are told to use, where the name is free.
NAME = "scripted-model"


def say(text):
    """A turn without tools: the end of the agent's work."""
    return {"text": text, "calls": []}


def call(*calls, text=""):
    """A turn that asks for tools; each call is a pair of a tool name and its arguments."""
    return {"text": text, "calls": list(calls)}


def fail(status):
    """A turn that is an HTTP error."""
    return {"status": status}


class Model:
    """The server; `turns_served` lists the answered requests in order."""

    def __init__(self, port):
        self.scripts = {}
        self.turns_served = []
        # Called before a turn is answered, with the marker and the number of the turn.
        self.before_turn = lambda marker, number: None
        self.problems = []
        self._serials = itertools.count(1)
        model = self

        class Handler(RequestHandler):
            pass

        Handler.model = model
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{port}"

    def load(self, scripts):
        """Replaces the scripts: {marker: [turn, ...]}."""
        self.scripts = scripts
        self.turns_served = []
        self.problems = []
        self.before_turn = lambda marker, number: None
        self._serials = itertools.count(1)

    def serial(self):
        return f"{next(self._serials):08d}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def turn_for(self, messages):
        """The turn that answers a conversation; messages are pairs of a role and a text."""
        marker, start = None, 0
        for index, (role, text) in enumerate(messages):
            found = MARKER.findall(text) if role == "user" else []
            if found:
                marker, start = found[-1], index + 1
        if marker is None or marker not in self.scripts:
            return say("A short answer."), None, 0
        # Consecutive items of the model, such as a text and two calls, are one turn.
        roles = [role for role, _ in itertools.groupby(messages[start:], key=lambda message: message[0])]
        number = roles.count("model")
        script = self.scripts[marker]
        return (script[number] if number < len(script) else say("Nothing is left to do.")), marker, number


def usage(number):
    """The tokens of a turn. Uncached input, cached input, output: all differ, so that mix-ups are visible."""
    return {"input": 1000 + number, "cached": 300, "output": 50 + number}


def join(content):
    """The text of a message; tool results are not part of it."""
    if isinstance(content, str):
        return content
    parts = [part if isinstance(part, str) else part.get("text") for part in content or []]
    return "\n".join(part for part in parts if isinstance(part, str))


def anthropic_messages(body):
    for message in body.get("messages", []):
        content = message.get("content")
        result = isinstance(content, list) and any(part.get("type") == "tool_result" for part in content)
        yield (
            {"assistant": "model"}.get(
                message["role"], "tool" if result and not MARKER.search(join(content)) else "user"
            ),
            join(content),
        )


def chat_messages(body):
    roles = {"assistant": "model", "tool": "tool", "user": "user"}
    for message in body.get("messages", []):
        yield roles.get(message["role"], "system"), join(message.get("content"))


def responses_messages(body):
    items = body.get("input", [])
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    for item in items:
        kind = item.get("type", "message")
        if kind == "message":
            roles = {"assistant": "model", "user": "user"}
            yield roles.get(item.get("role"), "system"), join(item.get("content"))
        else:
            yield ("tool" if kind.endswith("_output") else "model"), ""


def gemini_messages(body):
    for message in body.get("contents", []):
        text = join(message.get("parts"))
        yield "model" if message.get("role") == "model" else "user" if text else "tool", text


class RequestHandler(http.server.BaseHTTPRequestHandler):
    """One request of an agent."""

    protocol_version = "HTTP/1.1"
    model: Model

    def log_message(self, *arguments):
        pass

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            data = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            data = gzip.decompress(data)
        return json.loads(data) if data else {}

    def send_json(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def send_events(self, events):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in events:
            if isinstance(event, dict) and "type" in event:
                self.wfile.write(f"event: {event['type']}\n".encode())
            text = event if isinstance(event, str) else json.dumps(event)
            self.wfile.write(f"data: {text}\n\n".encode())
        self.wfile.flush()
        self.close_connection = True

    def do_GET(self):
        if self.path.split("?")[0].endswith("/models"):
            entry = {
                "id": NAME,
                "object": "model",
                "created": 1,
                "owned_by": "tests",
                "type": "model",
                "display_name": NAME,
            }
            self.send_json(200, {"object": "list", "data": [entry], "models": [], "has_more": False})
        else:
            self.send_json(404, {"error": {"message": "unknown path"}})

    do_HEAD = do_GET

    def do_POST(self):
        received_at = time.monotonic()
        body, path = self.read_body(), self.path.split("?")[0]
        if path.endswith("/count_tokens"):
            return self.send_json(200, {"input_tokens": 1000})
        if path.endswith(":countTokens"):
            return self.send_json(200, {"totalTokens": 1000})
        for suffix, messages, respond in [
            ("/messages", anthropic_messages, self.respond_anthropic),
            ("/responses", responses_messages, self.respond_responses),
            ("/chat/completions", chat_messages, self.respond_chat),
            (":generateContent", gemini_messages, self.respond_gemini),
            (":streamGenerateContent", gemini_messages, self.respond_gemini),
        ]:
            if path.endswith(suffix):
                break
        else:
            return self.send_json(404, {"error": {"message": "unknown path"}})
        # Titles and summaries are asked for without tools.
        turn, marker, number = say("A short answer."), None, 0
        if body.get("tools"):
            turn, marker, number = self.model.turn_for(list(messages(body)))
        try:
            self.model.before_turn(marker, number)
        except Exception as error:  # A check failed: it is reported, and the agent continues.
            self.model.problems.append(f"before turn {number} of {marker}: {error}")
        tokens = usage(number)
        served = {"marker": marker, "turn": number, "tokens": tokens, "received_at": received_at}
        if "status" in turn:
            kind = {400: "invalid_request_error", 401: "authentication_error", 429: "rate_limit_error"}
            error = {
                "type": kind.get(turn["status"], "api_error"),
                "message": "scripted error",
                "code": turn["status"],
                "status": "INTERNAL",
            }
            self.send_json(turn["status"], {"type": "error", "error": error})
            served["tokens"] = None
        else:
            respond(body, turn, tokens)
        served["answered_at"] = time.monotonic()
        self.model.turns_served.append(served)

    def respond_anthropic(self, body, turn, tokens):
        serial = self.model.serial()
        blocks = [{"type": "text", "text": turn["text"]}] if turn["text"] else []
        for name, arguments in turn["calls"]:
            blocks.append({"type": "tool_use", "id": f"toolu_{self.model.serial()}", "name": name, "input": arguments})
        stop = "tool_use" if turn["calls"] else "end_turn"
        counts = {
            "input_tokens": tokens["input"],
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": tokens["cached"],
            "output_tokens": tokens["output"],
        }
        message = {
            "id": f"msg_{serial}",
            "type": "message",
            "role": "assistant",
            "model": body.get("model", NAME),
            "content": blocks,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": counts,
        }
        if not body.get("stream"):
            return self.send_json(200, message)
        events = [{"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}]
        for index, block in enumerate(blocks):
            if block["type"] == "text":
                empty, delta = {"type": "text", "text": ""}, {"type": "text_delta", "text": block["text"]}
            else:
                empty, delta = (
                    {**block, "input": {}},
                    {"type": "input_json_delta", "partial_json": json.dumps(block["input"])},
                )
            events += [
                {"type": "content_block_start", "index": index, "content_block": empty},
                {"type": "content_block_delta", "index": index, "delta": delta},
                {"type": "content_block_stop", "index": index},
            ]
        events.append(
            {
                "type": "message_delta",
                "delta": {"stop_reason": stop, "stop_sequence": None},
                "usage": {"output_tokens": tokens["output"]},
            }
        )
        self.send_events([*events, {"type": "message_stop"}])

    def respond_responses(self, body, turn, tokens):
        items = []
        if turn["text"]:
            content = [{"type": "output_text", "text": turn["text"], "annotations": []}]
            items.append(
                {
                    "type": "message",
                    "id": f"msg_{self.model.serial()}",
                    "role": "assistant",
                    "status": "completed",
                    "content": content,
                }
            )
        for name, arguments in turn["calls"]:
            serial = self.model.serial()
            namespace, _, name = name.rpartition("/")
            items.append(
                {
                    "type": "function_call",
                    "id": f"fc_{serial}",
                    "call_id": f"call_{serial}",
                    "name": name,
                    "arguments": json.dumps(arguments),
                    "status": "completed",
                    **({"namespace": namespace} if namespace else {}),
                }
            )
        total = tokens["input"] + tokens["cached"]
        counts = {
            "input_tokens": total,
            "input_tokens_details": {"cached_tokens": tokens["cached"]},
            "output_tokens": tokens["output"],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": total + tokens["output"],
        }
        response = {
            "id": f"resp_{self.model.serial()}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "completed",
            "model": body.get("model", NAME),
            "output": items,
            "usage": counts,
            "error": None,
        }
        if not body.get("stream"):
            return self.send_json(200, response)
        events = [
            {"type": "response.created", "response": {**response, "status": "in_progress", "output": [], "usage": None}}
        ]
        for index, item in enumerate(items):
            at = {"output_index": index, "item_id": item["id"]}
            events.append(
                {"type": "response.output_item.added", "output_index": index, "item": {**item, "status": "in_progress"}}
            )
            if item["type"] == "message":
                events.append({"type": "response.output_text.delta", **at, "content_index": 0, "delta": turn["text"]})
            else:
                events.append({"type": "response.function_call_arguments.done", **at, "arguments": item["arguments"]})
            events.append({"type": "response.output_item.done", "output_index": index, "item": item})
        events.append({"type": "response.completed", "response": response})
        self.send_events({**event, "sequence_number": number} for number, event in enumerate(events))

    def respond_chat(self, body, turn, tokens):
        calls = []
        for index, (name, arguments) in enumerate(turn["calls"]):
            calls.append(
                {
                    "index": index,
                    "id": f"call_{self.model.serial()}",
                    "type": "function",
                    "function": {"name": name, "arguments": json.dumps(arguments)},
                }
            )
        stop = "tool_calls" if calls else "stop"
        total = tokens["input"] + tokens["cached"]
        counts = {
            "prompt_tokens": total,
            "completion_tokens": tokens["output"],
            "total_tokens": total + tokens["output"],
            "prompt_tokens_details": {"cached_tokens": tokens["cached"]},
        }
        head = {"id": f"chatcmpl-{self.model.serial()}", "created": int(time.time()), "model": body.get("model", NAME)}
        if not body.get("stream"):
            plain = [{key: value for key, value in entry.items() if key != "index"} for entry in calls]
            message = {"role": "assistant", "content": turn["text"] or None, **({"tool_calls": plain} if plain else {})}
            return self.send_json(
                200,
                {
                    **head,
                    "object": "chat.completion",
                    "choices": [{"index": 0, "message": message, "finish_reason": stop}],
                    "usage": counts,
                },
            )
        deltas = [{"role": "assistant", "content": turn["text"]}, *({"tool_calls": [entry]} for entry in calls)]
        head["object"] = "chat.completion.chunk"
        chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": stop}]})
        self.send_events([*chunks, {**head, "choices": [], "usage": counts}, "[DONE]"])

    def respond_gemini(self, body, turn, tokens):
        parts = [{"text": turn["text"]}] if turn["text"] else []
        parts += [{"functionCall": {"name": name, "args": arguments}} for name, arguments in turn["calls"]]
        total = tokens["input"] + tokens["cached"]
        counts = {
            "promptTokenCount": total,
            "candidatesTokenCount": tokens["output"],
            "cachedContentTokenCount": tokens["cached"],
            "totalTokenCount": total + tokens["output"],
        }
        response = {
            "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}],
            "modelVersion": NAME,
            "responseId": f"response-{self.model.serial()}",
            "usageMetadata": counts,
        }
        if ":stream" in self.path:
            self.send_events([response])
        else:
            self.send_json(200, response)
