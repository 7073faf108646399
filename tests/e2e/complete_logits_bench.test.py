#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`baltoro complete`, `logits`, `deviation` and `bench` on the bundled models.

usage: complete_logits_bench.test.py BALTORO"""
import array
import csv
import io
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest

BALTORO = os.path.abspath(sys.argv[1])
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run(*arguments, data=""):
    return subprocess.run([BALTORO, *arguments], input=data, capture_output=True, text=True, timeout=120)


def read_tensor(path, name):
    """(shape, values) of one F32 or I32 tensor."""
    with open(path, "rb") as file:
        header_bytes = struct.unpack("<Q", file.read(8))[0]
        entry = json.loads(file.read(header_bytes))[name]
        begin, end = entry["data_offsets"]
        file.seek(8 + header_bytes + begin)
        values = array.array({"F32": "f", "I32": "i"}[entry["dtype"]])
        values.frombytes(file.read(end - begin))
        return entry["shape"], values


class Logits(unittest.TestCase):
    def check_model(self, name, math, bound):
        """Every answer of golden.json, teacher-forced: its ids are the likeliest, its two best logits are ours."""
        model = os.path.join(ROOT, "models", name)
        with open(os.path.join(model, "golden.json")) as file:
            golden = json.load(file)
        turns = [turn for case in golden["cases"] + golden["untrained_phrasings"]["cases"] for turn in case["turns"]]
        self.assertGreater(len(turns), 20)
        worst = 0.0
        with tempfile.TemporaryDirectory() as folder:
            tokens, out = os.path.join(folder, "tokens.json"), os.path.join(folder, "out.safetensors")
            for turn in turns[::3]:
                ids = turn["prompt_ids"] + turn["output_ids"]
                with open(tokens, "w") as file:
                    json.dump(ids, file)
                done = run("logits", model, "--tokens", tokens, "--out", out, "--math", math, "--json")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertEqual(json.loads(done.stdout)["tokens"], len(ids))
                self.assertEqual(list(read_tensor(out, "tokens")[1]), ids)
                (rows, vocab), logits = read_tensor(out, "logits")
                self.assertEqual((rows, vocab), (len(ids), 1024))
                for i, (token, top2) in enumerate(zip(turn["output_ids"], turn["top2"])):
                    row = logits[(len(turn["prompt_ids"]) - 1 + i) * vocab:][:vocab]
                    self.assertEqual(max(range(vocab), key=row.__getitem__), token)
                    for best, logit in (top2[:2], top2[2:]):
                        worst = max(worst, abs(row[best] - logit))
        print(f"{name} {math}: logits differ by at most {worst:.3g}")
        self.assertLessEqual(worst, bound)

    # f32 sums of up to 384 products of size up to about 20, three layers deep, against float64.
    def test_reference_arithmetic(self):
        for name in ("ledger", "ledger-bf16"):
            self.check_model(name, "f32", 1e-4)

    # BF16 activations: one rounding step, 2^-8, of the largest logits (24).
    def test_exact_arithmetic(self):
        for name in ("ledger", "ledger-bf16"):
            self.check_model(name, "exact", 24 * 2.0 ** -8)

    def test_perplexity_of_a_text_in_windows(self):
        model = os.path.join(ROOT, "models", "ledger")
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as text:
            text.write("What is the value of AIR? The value is 42. " * 100)
            text.flush()
            whole = json.loads(run("logits", model, "--text", text.name, "--perplexity", "--json").stdout)
            self.assertGreater(whole["windows"], 1)  # longer than the model's context
            self.assertEqual(whole["tokens_scored"], whole["tokens"] - 1)
            self.assertGreater(whole["perplexity"], 1)
            strided = json.loads(run("logits", model, "--text", text.name, "--perplexity", "--json", "--window", "256",
                                     "--stride", "128").stdout)
            self.assertEqual(strided["tokens_scored"], whole["tokens_scored"])

    def test_what_is_wrong_is_said(self):
        model = os.path.join(ROOT, "models", "ledger")
        with tempfile.TemporaryDirectory() as folder:
            path, out = os.path.join(folder, "t.json"), os.path.join(folder, "o.safetensors")
            for content in ("", "{}", "[", "[1.5]", "[-1]", '["a"]', "[1024]", "[]", "[99999999999]"):
                with open(path, "w") as file:
                    file.write(content)
                done = run("logits", model, "--tokens", path, "--out", out)
                self.assertNotEqual(done.returncode, 0, content)
                self.assertTrue(done.stderr.startswith("baltoro logits: "), done.stderr)
            for arguments in (["--tokens", path], ["--out", out], ["--tokens", path, "--text", path, "--out", out]):
                self.assertNotEqual(run("logits", model, *arguments).returncode, 0)
            self.assertEqual(os.listdir(folder), ["t.json"])


class Deviation(unittest.TestCase):
    def test_each_arithmetic_is_compared_with_f32(self):
        model = os.path.join(ROOT, "models", "ledger-bf16")
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump([{"tokens": [5, 6, 7, 8, 9], "scored_from": 3}, {"tokens": [1, 2, 3]}], file)
            file.flush()
            done = run("deviation", model, "--tokens", file.name, "--json")
            self.assertEqual(done.returncode, 0, done.stderr)
            rows = json.loads(done.stdout)
            self.assertEqual([(row["math"], row["dense"]) for row in rows],
                             [("f32", "released"), ("exact", "released"), ("fast", "released"), ("exact", "int8"),
                              ("fast", "int8")])
            for row in rows:
                self.assertEqual((row["positions"], row["tokens_scored"]), (8, 4))
            self.assertEqual((rows[0]["kl_mean"], rows[0]["top_agreement"]), (0, 1))
            self.assertEqual(len({row["perplexity"] for row in rows}), 4)  # no weight has groups: fast is exact
            self.assertEqual(rows[1]["perplexity"], rows[2]["perplexity"])
            some = run("deviation", model, "--tokens", file.name, "--math", "fast", "--dense", "int8").stdout
            self.assertEqual([line.split("  ")[0] for line in some.splitlines()[1:]], ["f32", "fast, dense int8"])

    def test_what_is_wrong_is_said(self):
        model = os.path.join(ROOT, "models", "ledger")
        with tempfile.NamedTemporaryFile("w+", suffix=".json") as file:
            for content in ("", "{}", "[]", "[1.5]", "[-1]", "[1024]", "[[1]]", '[{"tokens": 1}]', "[{}]", "[1, {}]",
                            '[{"tokens": [1, 2], "scored_from": 0}]', '[{"tokens": []}]'):
                file.seek(0)
                file.truncate()
                file.write(content)
                file.flush()
                done = run("deviation", model, "--tokens", file.name)
                self.assertNotEqual(done.returncode, 0, content)
                self.assertTrue(done.stderr.startswith("baltoro deviation: "), done.stderr)


class Complete(unittest.TestCase):
    def complete(self, *arguments, data=""):
        done = run("complete", os.path.join(ROOT, "models", "ledger"), *arguments, data=data)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def test_prompts_come_from_the_flag_or_from_standard_input(self):
        flag = self.complete("--prompt", "The value is", "-n", "12", "--temperature", "0").stdout
        pipe = self.complete("-n", "12", "--temperature", "0", data="The value is").stdout
        self.assertEqual(flag, pipe)
        self.assertNotEqual(flag, "")
        echoed = self.complete("--prompt", "The value is", "-n", "12", "--temperature", "0", "--echo").stdout
        self.assertEqual(echoed, "The value is" + flag)

    def test_approximate_arithmetic_answers_alike(self):
        # A sentence that the model knows (the next token is 5 logits ahead). What it does not know it continues by
        # near-ties: after "The value is 3U" by 0.05 of a logit.
        prompt = ("--prompt", "I have no tools here, so I", "-n", "12", "--temperature", "0")
        self.assertEqual(self.complete(*prompt).stdout, " cannot read the ledger.")
        for flags in (("--math", "fast"), ("--dense", "int8"), ("--math", "fast", "--dense", "int8")):
            self.assertEqual(self.complete(*prompt, *flags).stdout, " cannot read the ledger.", flags)

    def test_seeds_repeat(self):
        outputs = [self.complete("--prompt", "A", "-n", "20", "--temperature", "1.5", "--seed", seed).stdout
                   for seed in ("1", "1", "2")]
        self.assertEqual(outputs[0], outputs[1])
        self.assertNotEqual(outputs[0], outputs[2])

    def test_events_and_stats(self):
        plain = self.complete("--prompt", "A", "-n", "9", "--temperature", "0", "--stats")
        for word in ("first token", "tokens/s", "resident"):
            self.assertIn(word, plain.stderr)
        events = [json.loads(line) for line in
                  self.complete("--prompt", "A", "-n", "9", "--temperature", "0", "--json").stdout.splitlines()]
        self.assertEqual("".join(e["text"] for e in events if e["event"] == "text"), plain.stdout)
        self.assertEqual(events[-1]["finish"], "length")
        self.assertEqual(events[-1]["tokens_output"], 9)

    def test_what_is_wrong_is_said(self):
        model = os.path.join(ROOT, "models", "ledger")
        for arguments in ((model, "--prompt", ""), (model, "--prompt", "x " * 3000), (model, "--prompt", "A", "--top-p", "7"),
                          (model, "--prompt", "A", "--seed", "-1"), ("/no/such/folder", "--prompt", "A")):
            done = run("complete", *arguments)
            self.assertNotEqual(done.returncode, 0, arguments[:3])
            self.assertNotEqual(done.stderr, "")


class Bench(unittest.TestCase):
    def test_formats_agree_on_the_cases(self):
        arguments = ["bench", os.path.join(ROOT, "models", "ledger"), "--quick", "--quiet", "--repeat", "2", "--prefill", "32,64",
                     "--decode-batch", "1,2", "--context", "64,128", "--decode-steps", "4"]
        report = json.loads(run(*arguments, "--format", "json").stdout)
        rows = list(csv.DictReader(io.StringIO(run(*arguments, "--format", "csv").stdout)))
        cases = [(row["kind"], row["batch"], row["context"]) for row in report["rows"]]
        self.assertEqual(cases, [(row["kind"], int(row["batch"]), int(row["context"])) for row in rows])
        self.assertEqual(cases, [("prefill", 1, 32), ("prefill", 1, 64), ("decode", 1, 64), ("decode", 2, 64),
                                 ("decode", 1, 128)])
        for ours, theirs in zip(report["rows"], rows):
            for cost in ("linear_flop", "attention_flop", "weight_bytes", "kv_bytes"):  # the same work in every run
                self.assertEqual(ours[cost], int(theirs[cost]))
            self.assertEqual(len(ours["read_bytes_per_s_beside"]), len(ours["seconds"]))
        self.assertEqual([start["cache"] for start in report["starts"]], ["warm"])
        table = run(*arguments).stdout
        self.assertEqual(table.count("\ndecode "), 3)
        self.assertIn("warm start: ready in ", table)
        for threads in ("all_threads", "one_thread"):
            for name in ("read_bytes_per_s", "f32_flop_per_s"):
                self.assertGreater(report["machine"][threads][name], 0)

    def test_approximate_arithmetic_is_named_and_counted(self):
        arguments = ["bench", os.path.join(ROOT, "models", "ledger-bf16"), "--quick", "--quiet", "--repeat", "2", "--prefill",
                     "32", "--decode-batch", "1", "--context", "64", "--decode-steps", "4", "--format", "json"]
        exact, fast = (json.loads(run(*arguments, *flags).stdout)
                       for flags in ([], ["--math", "fast", "--dense", "int8"]))
        self.assertEqual([(report["math"], report["dense"]) for report in (exact, fast)],
                         [("exact", "released"), ("fast", "int8")])
        for before, after in zip(exact["rows"], fast["rows"]):
            self.assertNotEqual(after["weight_bytes"], before["weight_bytes"])
            self.assertEqual(after["linear_flop"], before["linear_flop"])

    def test_a_cold_start_says_whether_it_was_cold(self):
        with tempfile.TemporaryDirectory() as folder:
            model = os.path.join(folder, "tiny")
            made = run("synth", "--config", os.path.join(ROOT, "configs", "tiny.json"), "--quant", "int4", "--out", model)
            self.assertEqual(made.returncode, 0, made.stderr)
            done = run("bench", model, "--quick", "--quiet", "--repeat", "2", "--prefill", "8", "--cold", "--format", "json")
            self.assertEqual(done.returncode, 0, done.stderr)
            warm, cold = json.loads(done.stdout)["starts"]
            self.assertEqual((warm["cache"], cold["cache"]), ("warm", "cold"))
            self.assertEqual(warm["cached_before"], [1.0, 1.0])
            self.assertEqual(len(cold["cached_before"]), 2)
            self.assertGreater(cold["weight_bytes"], 1e6)
            self.assertLess(cold["weight_bytes"], cold["file_bytes"])

    def test_reports_are_compared(self):
        with tempfile.TemporaryDirectory() as folder:
            names = [os.path.join(folder, name) for name in ("a.json", "b.json", "bad.json")]
            for name in names[:2]:
                done = run("bench", os.path.join(ROOT, "models", "ledger"), "--quick", "--quiet", "--repeat", "2", "--prefill",
                           "32", "--format", "json")
                with open(name, "w") as file:
                    file.write(done.stdout)
            table = run("bench", "compare", *names[:2])
            self.assertEqual(table.returncode, 0, table.stderr)
            self.assertIn("prefill 32", table.stdout)
            compared = json.loads(run("bench", "compare", *names[:2], "--format", "json").stdout)
            self.assertEqual([case["case"] for case in compared["cases"]],
                             ["prefill 32", "warm start, ready", "warm start, first of 32"])
            with open(names[2], "w") as file:
                file.write('{"format": "baltoro-bench-2", "rows": [{}]}')
            for other in (names[2], "/no/such/file", folder):
                done = run("bench", "compare", names[0], other)
                self.assertEqual(done.returncode, 1 if other != names[2] else 2)
                self.assertTrue(done.stderr.startswith("baltoro bench compare: "), done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1)

    def test_the_machine_alone(self):
        report = json.loads(run("bench", "machine", "--quick", "--format", "json").stdout)
        self.assertGreater(report["machine"]["all_threads"]["f32_flop_per_s"], 0)
        self.assertIn("1 thread", run("bench", "machine", "--quick").stdout)

    def test_threads_and_cpus(self):
        mine = sorted(os.sched_getaffinity(0))
        one = json.loads(run("bench", "machine", "--quick", "--brief", "--cpus", str(mine[-1]), "--format", "json").stdout)
        self.assertEqual(one["machine"]["threads"], 1)
        model = os.path.join(ROOT, "models", "ledger")
        answers = {run("complete", model, "--prompt", "A 1", "-n", "8", "--temperature", "0", *arguments).stdout
                   for arguments in ([], ["--cpus", str(mine[0])], ["--threads", "1"], ["--threads", "7"])}
        self.assertEqual(len(answers), 1, answers)
        for arguments in (["--cpus", "65535"], ["--threads", str(len(mine) + 1), "--cpus", ",".join(map(str, mine))]):
            for command in (["complete", model, "--prompt", "A"], ["bench", "machine", "--quick"], ["bench", model]):
                done = run(*command, *arguments)
                self.assertEqual(done.returncode, 2, (command, arguments, done.stderr))
                self.assertIn("[cpus]", done.stderr)
                self.assertEqual(done.stdout, "")

    def test_what_is_wrong_is_said(self):
        model = os.path.join(ROOT, "models", "ledger")
        for arguments in (["--prefill", "2000"], ["--prefill", "0"], ["--repeat", "0"], ["--format", "xml"]):
            self.assertNotEqual(run("bench", model, "--quick", *arguments).returncode, 0, arguments)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
