#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every task of the bundled models through the server's chat API, with the example tool as it is shipped, for both
twins: whole answers one by one, then streamed answers all at once. Each reasoning, call and answer must be the expected,
in the approximate arithmetics too.

usage: ledger_tasks.test.py BALTORO"""
import concurrent.futures
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile

from server_process import ROOT, ServerProcess

TOOL = os.path.join(ROOT, "examples", "ledger", "get.sh")
with open(os.path.join(ROOT, "examples", "ledger", "tools.json")) as _file:
    TOOLS = [{"type": entry["type"], "function": entry["function"]} for entry in json.load(_file)["tools"]]
MAX_ROUNDS = 20
APPROXIMATE = (["--math", "fast"], ["--dense", "int8"], ["--math", "fast", "--dense", "int8"])


def post(port, request):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(request), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, (answer.status, body)
        return body
    finally:
        connection.close()


def ask_whole(port, request):
    """(message, finish reason) of one answer."""
    choice = json.loads(post(port, request))["choices"][0]
    return choice["message"], choice["finish_reason"]


def ask_streamed(port, request):
    """The same, put together from a stream's chunks."""
    body = post(port, {**request, "stream": True}).decode()
    events = [line[len("data: "):] for line in body.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]", events[-1:]
    message, calls, finish = {"role": "assistant", "content": "", "reasoning_content": ""}, [], None
    for event in map(json.loads, events[:-1]):
        for choice in event["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content") or ""
            message["reasoning_content"] += delta.get("reasoning_content") or ""
            for piece in delta.get("tool_calls") or []:
                if piece["index"] == len(calls):
                    calls.append({"id": piece["id"], "type": "function",
                                  "function": {"name": piece["function"]["name"], "arguments": ""}})
                calls[piece["index"]]["function"]["arguments"] += piece["function"].get("arguments") or ""
            finish = choice.get("finish_reason") or finish
    if calls:
        message["tool_calls"] = calls
    return message, finish


def run_tool(arguments, ledger):
    """What get.sh prints for the arguments, as `baltoro chat` would pass it on."""
    done = subprocess.run(["sh", TOOL], input=arguments + "\n", capture_output=True, text=True, timeout=20,
                          env={**os.environ, "LEDGER": ledger})
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def run_task(ask, port, model, task, ledger):
    """Plays the task to its end; a list of what differs from the expected."""
    messages = [dict(message) for message in task["messages"]]
    request = {"model": model, "temperature": 0}
    if task["tools"]:
        request["tools"] = TOOLS
    problems, calls = [], []
    steps = task["expected_steps"]
    for step in range(MAX_ROUNDS):
        message, finish = ask(port, {**request, "messages": messages})
        made = message.get("tool_calls") or []
        calls += [{"id": c["id"], **c["function"]} for c in made]
        seen = {"think": message.get("reasoning_content") or "", "content": message.get("content") or "",
                "finish": finish}
        if step >= len(steps):
            return problems + [f"step {step} was not expected: {seen} {made}"]
        wanted = {"think": steps[step]["think"], "content": steps[step]["content"],
                  "finish": "tool_calls" if steps[step]["calls"] else "stop"}
        if seen != wanted:
            problems.append(f"step {step}: {seen}, not {wanted}")
        messages.append(message)
        if not made:
            break
        for call in made:
            if not re.fullmatch(r"functions\.get:\d+", call["id"]):
                problems.append(f"the id {call['id']!r} is not of the family's form")
            messages.append({"role": "tool", "tool_call_id": call["id"], "name": call["function"]["name"],
                             "content": run_tool(call["function"]["arguments"], ledger)})
    if calls != task["expected_calls"]:
        problems.append(f"calls {calls}, not {task['expected_calls']}")
    if messages[-1].get("content") != task["expected_final"]:
        problems.append(f"answer {messages[-1].get('content')!r}, not {task['expected_final']!r}")
    return problems


def write_ledger(folder, task):
    path = os.path.join(folder, task["id"] + ".txt")
    with open(path, "w") as file:
        for key, entry in task["ledger"].items():
            file.write(f"{key} {entry['next']} {entry['value']}\n")
    return path


def run_tasks(baltoro, model, tasks, flags, name, ask, at_once):
    """Number of tasks played right by a server with these flags."""
    with tempfile.TemporaryDirectory() as folder, ServerProcess(baltoro, *flags, model=model) as server:
        ledgers = [write_ledger(folder, task) for task in tasks]
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            results = list(pool.map(lambda task, ledger: run_task(ask, server.port, model, task, ledger), tasks, ledgers))
    title = " ".join([model, *flags])
    for task, problems in zip(tasks, results):
        for problem in problems:
            print(f"{title} {name} {task['id']}: {problem}")
    right = sum(not problems for problems in results)
    calls = sum(len(task["expected_calls"]) for task in tasks)
    print(f"{title:40} {name:8} {right} of {len(tasks)} tasks right, {calls} calls expected in all")
    return right


def main():
    failed = 0
    for model in ("ledger", "ledger-bf16"):
        with open(os.path.join(ROOT, "models", model, "tasks.jsonl")) as file:
            tasks = [json.loads(line) for line in file]
        assert len(tasks) == 25, len(tasks)
        runs = [([], "whole", ask_whole, 1)]
        runs += [(flags, "streamed", ask_streamed, len(tasks)) for flags in ([], *APPROXIMATE)]
        for flags, name, ask, at_once in runs:
            failed += len(tasks) - run_tasks(sys.argv[1], model, tasks, flags, name, ask, at_once)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
