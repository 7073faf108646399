#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a checkpoint folder (BF16 and INT4 group 32, as `baltoro synth --quant int4` makes it) as one GGUF file of the
deepseek2 architecture, so that llama.cpp can run the same weights.

usage: gguf_write.py FOLDER OUT.gguf [--rest q8_0|bf16]

Experts: Q4_0, code by code: both formats are scale * (code - 8) over groups of 32 columns, so only the order of the
nibbles and the type of the scale change (BF16 to F16: exact unless the scale is under 2^-14, which is refused).
Router and norms: F32. All other matrices: Q8_0 (the default, rounds them) or BF16 (exact).
kv_b is split into k_b, transposed per head, and v_b. RoPE pairs stay interleaved. No tokenizer is written.

Format facts: the GGUF page of ggml's documentation; tensor and key names as llama.cpp's loader asks for them."""
import argparse
import json
import os
import pathlib
import struct
import sys

import numpy as np

ALIGNMENT = 32
F32, Q4_0, Q8_0, BF16 = 0, 2, 8, 30
GROUP = 32
U32, FLOAT, BOOL, STRING = 4, 6, 7, 8  # types of metadata values


class Checkpoint:
    """Tensors of a safetensors folder by name, as memory maps."""

    def __init__(self, folder):
        self.entries = {}
        for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
            with open(path, "rb") as file:
                size = struct.unpack("<Q", file.read(8))[0]
                header = json.loads(file.read(size))
            data = np.memmap(path, np.uint8, "r", offset=8 + size)
            for name, entry in header.items():
                if name != "__metadata__":
                    self.entries[name] = (data, entry)
        if not self.entries:
            sys.exit(f"gguf_write: {folder}: *.safetensors expected, there are none")

    def raw(self, name, dtype, dtype_name):
        if name not in self.entries:
            sys.exit(f"gguf_write: tensor {name} is needed, the folder has not got it")
        data, entry = self.entries[name]
        if entry["dtype"] != dtype_name:
            sys.exit(f"gguf_write: {name}: {dtype_name} expected, found {entry['dtype']}")
        begin, end = entry["data_offsets"]
        return data[begin:end].view(dtype).reshape(entry["shape"])

    def bf16(self, name):
        """The bits, [rows, columns] of uint16."""
        return self.raw(name, np.uint16, "BF16")

    def f32(self, name):
        if self.entries.get(name, (None, {"dtype": ""}))[1]["dtype"] == "F32":
            return self.raw(name, np.float32, "F32")
        return widen(self.bf16(name))


def widen(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_q8_0(values):
    """Blocks of 32: F16 scale = amax / 127, then round(value / scale)."""
    blocks = values.reshape(-1, GROUP)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / 127
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    out = np.empty((len(blocks), 2 + GROUP), np.uint8)
    out[:, :2] = scale.astype(np.float16).view(np.uint8)
    out[:, 2:] = np.rint(blocks * inverse).astype(np.int8).view(np.uint8)
    return out


def to_q4_0(packed, scales):
    """packed [rows, columns / 2] bytes, low nibble first; Q4_0 keeps column j beside column j + 16 of its group."""
    groups = packed.reshape(-1, GROUP // 2)
    first, second = groups[:, :8], groups[:, 8:]
    out = np.empty((len(groups), 2 + GROUP // 2), np.uint8)
    wide = widen(scales).reshape(-1, 1)
    if (np.abs(wide) < 2.0**-14).any() or (np.abs(wide) > 65504).any():
        sys.exit("gguf_write: an INT4 scale is no normal F16 number: Q4_0 cannot say the same")
    out[:, :2] = wide.astype(np.float16).view(np.uint8)
    out[:, 2::2] = (first & 15) | (second << 4)
    out[:, 3::2] = (first >> 4) | (second & 0xF0)
    return out


class Writer:
    """Metadata and tensors; each tensor's bytes are made when its turn comes."""

    BYTES = {F32: (1, 4), Q4_0: (GROUP, 18), Q8_0: (GROUP, 34), BF16: (1, 2)}  # elements and bytes of a block

    def __init__(self):
        self.metadata, self.tensors = [], []

    def set(self, key, kind, value):
        self.metadata.append((key, kind, value))

    def add(self, name, shape, kind, *makers):
        """shape in GGUF's order: columns first. The makers' bytes follow each other."""
        self.tensors.append((name, shape, kind, makers))

    def size(self, shape, kind):
        elements, size = self.BYTES[kind]
        if shape[0] % elements:
            sys.exit(f"gguf_write: {shape[0]} columns do not divide into blocks of {elements}")
        return int(np.prod(shape, dtype=np.int64)) // elements * size

    @staticmethod
    def text(value):
        data = value.encode()
        return struct.pack("<Q", len(data)) + data

    def header(self):
        out = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.metadata))
        for key, kind, value in self.metadata:
            out += self.text(key) + struct.pack("<I", kind)
            out += self.text(value) if kind == STRING else struct.pack({U32: "<I", FLOAT: "<f", BOOL: "<?"}[kind], value)
        offset = 0
        for name, shape, kind, _ in self.tensors:
            out += self.text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
            out += struct.pack("<IQ", kind, offset)
            offset += self.size(shape, kind) + -self.size(shape, kind) % ALIGNMENT
        return out + b"\0" * (-len(out) % ALIGNMENT), offset

    def write(self, path):
        header, total = self.header()
        with open(path + ".tmp", "wb") as file:
            file.write(header)
            done = 0
            for name, shape, kind, makers in self.tensors:
                size = 0
                for maker in makers:
                    data = np.ascontiguousarray(maker())
                    file.write(data)
                    size += data.nbytes
                if size != self.size(shape, kind):
                    sys.exit(f"gguf_write: {name}: {self.size(shape, kind)} bytes expected, made {size}")
                file.write(b"\0" * (-size % ALIGNMENT))
                done += size + -size % ALIGNMENT
                if sys.stderr.isatty():
                    print(f"\r{path}: {done / 1e9:.2f} of {total / 1e9:.2f} GB", end="", file=sys.stderr)
        os.replace(path + ".tmp", path)
        if sys.stderr.isatty():
            print(file=sys.stderr)


def describe(config, writer):
    def put(key, kind, value):
        writer.set("deepseek2." + key, kind, value)

    writer.set("general.architecture", STRING, "deepseek2")
    writer.set("general.alignment", U32, ALIGNMENT)
    writer.set("tokenizer.ggml.model", STRING, "no_vocab")
    nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    for key, number in {
            "block_count": config["num_hidden_layers"],
            "context_length": config["max_position_embeddings"],
            "embedding_length": config["hidden_size"],
            "feed_forward_length": config["intermediate_size"],
            "vocab_size": config["vocab_size"],
            "attention.head_count": config["num_attention_heads"],
            "attention.head_count_kv": 1,  # one latent for all heads
            "attention.kv_lora_rank": config["kv_lora_rank"],
            "attention.key_length": config["kv_lora_rank"] + rope,
            "attention.value_length": config["kv_lora_rank"],
            "attention.key_length_mla": nope + rope,
            "attention.value_length_mla": value,
            "rope.dimension_count": rope,
            "leading_dense_block_count": config["first_k_dense_replace"],
            "expert_count": config["n_routed_experts"],
            "expert_used_count": config["num_experts_per_tok"],
            "expert_shared_count": config["n_shared_experts"],
            "expert_feed_forward_length": config["moe_intermediate_size"],
            "expert_gating_func": 2,  # sigmoid
    }.items():
        put(key, U32, number)
    if config.get("q_lora_rank"):
        put("attention.q_lora_rank", U32, config["q_lora_rank"])
    put("attention.layer_norm_rms_epsilon", FLOAT, config["rms_norm_eps"])
    put("expert_weights_scale", FLOAT, config["routed_scaling_factor"])
    put("expert_weights_norm", BOOL, config["norm_topk_prob"])
    put("rope.freq_base", FLOAT, config["rope_theta"])
    yarn = config.get("rope_scaling")
    if yarn:
        put("rope.scaling.type", STRING, "yarn")
        put("rope.scaling.factor", FLOAT, yarn["factor"])
        put("rope.scaling.original_context_length", U32, yarn["original_max_position_embeddings"])
        put("rope.scaling.yarn_log_multiplier", FLOAT, 0.1 * yarn["mscale_all_dim"])
        put("rope.scaling.yarn_beta_fast", FLOAT, yarn["beta_fast"])
        put("rope.scaling.yarn_beta_slow", FLOAT, yarn["beta_slow"])


class Converter:
    def __init__(self, folder, rest):
        self.folder = Checkpoint(folder)
        self.config = json.loads((pathlib.Path(folder) / "config.json").read_text())
        self.rest = {"q8_0": Q8_0, "bf16": BF16}[rest]
        self.writer = Writer()

    def convert(self):
        describe(self.config, self.writer)
        self.matrix("token_embd.weight", "model.embed_tokens.weight")
        self.vector("output_norm.weight", "model.norm.weight")
        self.matrix("output.weight", "lm_head.weight")
        for layer in range(self.config["num_hidden_layers"]):
            self.attention(layer)
            if layer < self.config["first_k_dense_replace"]:
                for part in ("gate", "up", "down"):
                    self.matrix(f"blk.{layer}.ffn_{part}.weight", f"model.layers.{layer}.mlp.{part}_proj.weight")
            else:
                self.moe(layer)
        return self.writer

    def encode(self, bits):
        return np.ascontiguousarray(bits) if self.rest == BF16 else to_q8_0(widen(np.ascontiguousarray(bits)))

    def matrix(self, name, source):
        rows, columns = self.folder.bf16(source).shape
        self.writer.add(name, (columns, rows), self.rest, lambda: self.encode(self.folder.bf16(source)))

    def vector(self, name, source):
        self.writer.add(name, self.folder.f32(source).shape, F32, lambda: self.folder.f32(source))

    def attention(self, layer):
        ours, theirs = f"model.layers.{layer}.", f"blk.{layer}."
        self.vector(theirs + "attn_norm.weight", ours + "input_layernorm.weight")
        self.vector(theirs + "ffn_norm.weight", ours + "post_attention_layernorm.weight")
        ours += "self_attn."
        if self.config.get("q_lora_rank"):
            self.matrix(theirs + "attn_q_a.weight", ours + "q_a_proj.weight")
            self.vector(theirs + "attn_q_a_norm.weight", ours + "q_a_layernorm.weight")
            self.matrix(theirs + "attn_q_b.weight", ours + "q_b_proj.weight")
        else:
            self.matrix(theirs + "attn_q.weight", ours + "q_proj.weight")
        self.matrix(theirs + "attn_kv_a_mqa.weight", ours + "kv_a_proj_with_mqa.weight")
        self.vector(theirs + "attn_kv_a_norm.weight", ours + "kv_a_layernorm.weight")
        self.matrix(theirs + "attn_output.weight", ours + "o_proj.weight")
        heads, nope, value = (self.config[k] for k in ("num_attention_heads", "qk_nope_head_dim", "v_head_dim"))
        rank = self.config["kv_lora_rank"]

        def kv_b():
            return self.folder.bf16(ours + "kv_b_proj.weight").reshape(heads, nope + value, rank)

        self.writer.add(theirs + "attn_k_b.weight", (nope, rank, heads), self.rest,
                        lambda: self.encode(kv_b()[:, :nope].transpose(0, 2, 1)))
        self.writer.add(theirs + "attn_v_b.weight", (rank, value, heads), self.rest,
                        lambda: self.encode(kv_b()[:, nope:]))

    def moe(self, layer):
        ours, theirs = f"model.layers.{layer}.mlp.", f"blk.{layer}."
        router = ours + "gate.weight"
        rows, columns = self.folder.bf16(router).shape
        self.writer.add(theirs + "ffn_gate_inp.weight", (columns, rows), F32, lambda: self.folder.f32(router))
        self.vector(theirs + "exp_probs_b.bias", ours + "gate.e_score_correction_bias")
        for part in ("gate", "up", "down"):
            self.matrix(f"{theirs}ffn_{part}_shexp.weight", f"{ours}shared_experts.{part}_proj.weight")
            self.experts(f"{theirs}ffn_{part}_exps.weight", f"{ours}experts.{{}}.{part}_proj.weight")

    def experts(self, name, source):
        count = self.config["n_routed_experts"]
        rows, groups = self.folder.bf16(source.format(0) + "_scale").shape

        def one(expert):
            weight = source.format(expert)
            packed = self.folder.raw(weight + "_packed", np.int32, "I32").view(np.uint8)
            return to_q4_0(packed, self.folder.bf16(weight + "_scale"))

        self.writer.add(name, (groups * GROUP, rows, count), Q4_0, *(lambda e=e: one(e) for e in range(count)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--rest", choices=("q8_0", "bf16"), default="q8_0")
    arguments = parser.parse_args()
    Converter(arguments.folder, arguments.rest).convert().write(arguments.out)


if __name__ == "__main__":
    main()
