# SPDX-License-Identifier: Apache-2.0
"""A checkpoint larger than the memory it may have: --memory with the process held to it by RLIMIT_AS.

RLIMIT_AS bounds everything the process maps: heap, stacks, libraries, files. So a run that passes under it cannot have
had the checkpoint in memory, nor mapped; the same run without --memory maps the files and fails, which shows that the
limit holds. The logits must be the bytes of a run without any limit."""
import json
import pathlib
import resource
import subprocess
import sys
import tempfile

from server_process import sanitized

BALTORO = sys.argv[1]
MIB = 1 << 20
LIMIT = 400 * MIB
CONFIG = {
    "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "vocab_size": 512, "hidden_size": 1024,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 4, "q_lora_rank": 128,
    "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32, "intermediate_size": 1024,
    "moe_intermediate_size": 512, "n_routed_experts": 64, "n_shared_experts": 1, "num_experts_per_tok": 8,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "moe_layer_freq": 1, "scoring_func": "sigmoid",
    "topk_method": "noaux_tc", "norm_topk_prob": True, "routed_scaling_factor": 2.5, "rms_norm_eps": 1e-06,
    "rope_theta": 10000, "rope_scaling": None, "max_position_embeddings": 512, "tie_word_embeddings": False,
    "hidden_act": "silu", "attention_bias": False, "num_nextn_predict_layers": 0, "bos_token_id": 256,
    "eos_token_id": 258, "torch_dtype": "bfloat16",
}


def run(*arguments, limit=None):
    hold = (lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))) if limit else None
    return subprocess.run([BALTORO, *map(str, arguments)], capture_output=True, text=True, timeout=240, preexec_fn=hold)


def check(done, code=0):
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done


def main():
    if sanitized(BALTORO):
        print("a program under a sanitizer maps more than any limit: skipped")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as name:
        top = pathlib.Path(name)
        (top / "config.json").write_text(json.dumps(CONFIG))
        folder = top / "model"
        check(run("synth", "--config", top / "config.json", "--seed", 3, "--out", folder, "--shard-bytes", "200MB"))
        size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        assert size > LIMIT * 1.4, f"{size} bytes are no more than the limit of {LIMIT}"
        (top / "tokens.json").write_text(json.dumps([(i * 37) % 512 for i in range(300)]))
        logits = ["logits", folder, "--tokens", top / "tokens.json", "--threads", 2, "--context", 300]

        check(run(*logits, "--out", top / "free.safetensors"))
        mapped = run(*logits, "--out", top / "mapped.safetensors", limit=LIMIT)
        assert mapped.returncode == 1 and "cannot map" in mapped.stderr, mapped.stderr
        check(run(*logits, "--memory", "400MiB", "--out", top / "streamed.safetensors", limit=LIMIT))
        free, streamed = ((top / f"{kind}.safetensors").read_bytes() for kind in ("free", "streamed"))
        assert free == streamed, "streamed experts gave other logits"
        print(f"{size / MIB:.0f} MiB of weights in {LIMIT / MIB:.0f} MiB: {len(free)} bytes of logits are the same")

        eight = ["--math", "fast", "--dense", "int8"]
        check(run(*logits, *eight, "--out", top / "free.safetensors"))
        check(run(*logits, *eight, "--memory", "400MiB", "--out", top / "streamed.safetensors", limit=LIMIT))
        free, streamed = ((top / f"{kind}.safetensors").read_bytes() for kind in ("free", "streamed"))
        assert free == streamed, "streamed experts gave other logits with 8-bit arithmetic"

        bench = check(run("bench", folder, "--memory", "400MiB", "--all-miss", "--probe-bytes", "2MiB", "--quiet", "--no-start",
                          "--threads", 2, "--prefill", 32, "--decode-batch", 1, "--context", 16, "--decode-steps", 2,
                          "--repeat", 2, "--format", "json", limit=LIMIT))
        for row in json.loads(bench.stdout)["rows"]:
            for disk in row["disk"]:
                assert disk["bytes"] > 0 and disk["disk_bytes_per_s_beside"] > 0 and disk["misses"] > 0, row
                assert disk["hits"] <= disk["read_ahead_used"], f"experts were there before a step read them: {row}"

        small = check(run(*logits, "--memory", "300MiB", "--out", top / "small.safetensors"), code=1)
        assert "--memory of at least" in small.stderr and small.stderr.count("\n") == 1, small.stderr
        tiny = check(run(*logits, "--memory", "257MiB", "--out", top / "small.safetensors"), code=1)
        assert "Raise --memory" in tiny.stderr, tiny.stderr
        check(run(*logits, "--memory", "8 elephants", "--out", top / "small.safetensors"), code=2)


main()
