# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's C interface through ctypes, as v0.5.0 of the prebuilt library has it. Our own declarations: only the
fields that are set here have names. check_layout() compares what the library says are its defaults with the known ones,
so that another version is refused instead of misread."""
import ctypes
import pathlib
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int32, c_int8, c_size_t, c_uint32, c_void_p

VERSION = "v0.5.0"


class ModelParams(ctypes.Structure):
    _fields_ = [("devices", c_void_p), ("buffer_overrides", c_void_p), ("gpu_layers", c_int32), ("split_mode", c_int32),
                ("load_mode", c_int32), ("lazy_mode", c_int32), ("main_gpu", c_int32), ("tensor_split", c_void_p),
                ("progress", c_void_p), ("progress_data", c_void_p), ("kv_overrides", c_void_p), ("vocab_only", c_bool),
                ("check_tensors", c_bool), ("repack", c_bool), ("no_host", c_bool), ("no_alloc", c_bool),
                ("load_mtp", c_bool)]


class ContextParams(ctypes.Structure):
    _fields_ = [("n_ctx", c_uint32), ("n_batch", c_uint32), ("n_ubatch", c_uint32), ("n_seq_max", c_uint32),
                ("n_rs_seq", c_uint32), ("n_outputs_max", c_uint32), ("n_outputs_max_per_seq", c_uint32),
                ("n_threads", c_int32), ("n_threads_batch", c_int32), ("context_type", c_int32),
                ("rope_scaling", c_int32), ("pooling", c_int32), ("attention", c_int32), ("flash_attention", c_int32),
                ("rope_base", c_float), ("rope_scale", c_float), ("yarn_ext", c_float), ("yarn_attn", c_float),
                ("yarn_fast", c_float), ("yarn_slow", c_float), ("yarn_context", c_uint32), ("defrag", c_float),
                ("eval_callback", c_void_p), ("eval_data", c_void_p), ("type_k", c_int32), ("type_v", c_int32),
                ("abort_callback", c_void_p), ("abort_data", c_void_p), ("embeddings", c_bool), ("offload_kqv", c_bool),
                ("no_perf", c_bool), ("op_offload", c_bool), ("swa_full", c_bool), ("kv_unified", c_bool),
                ("samplers", c_void_p), ("n_samplers", c_size_t), ("other", c_void_p)]


class Batch(ctypes.Structure):
    _fields_ = [("n_tokens", c_int32), ("token", POINTER(c_int32)), ("embd", c_void_p), ("pos", POINTER(c_int32)),
                ("n_seq_id", POINTER(c_int32)), ("seq_id", POINTER(POINTER(c_int32))), ("logits", POINTER(c_int8))]


LogCallback = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)


class Library:
    """The loaded library; `messages` keeps what it logged."""

    def __init__(self, folder):
        folder = pathlib.Path(folder)
        found = {name: sorted(folder.glob(f"{name}.v*.so")) for name in ("libggml", "libllama")}
        if not all(found.values()):
            raise SystemExit(f"llama_library: {folder}: libggml.v*.so and libllama.v*.so expected (npm ci in bench/peers)")
        self.version = found["libllama"][0].name[len("libllama."):-len(".so")]
        if self.version != VERSION:
            raise SystemExit(f"llama_library: {VERSION} expected, {folder} has {self.version}")
        ctypes.CDLL(str(folder / "libggml-base.so"), ctypes.RTLD_GLOBAL)
        ggml = ctypes.CDLL(str(found["libggml"][0]), ctypes.RTLD_GLOBAL)
        self.c = ctypes.CDLL(str(found["libllama"][0]), ctypes.RTLD_GLOBAL)
        self.declare()
        self.messages = []
        self.log = LogCallback(lambda level, text, data: self.messages.append(text.decode("utf-8", "replace")))
        self.c.llama_log_set(self.log, None)
        self.check_layout()
        ggml.ggml_backend_load_all_from_path(str(folder).encode())
        self.c.llama_backend_init()

    def declare(self):
        for name, result, arguments in (
                ("llama_model_default_params", ModelParams, []),
                ("llama_context_default_params", ContextParams, []),
                ("llama_model_load_from_file", c_void_p, [c_char_p, ModelParams]),
                ("llama_model_free", None, [c_void_p]),
                ("llama_init_from_model", c_void_p, [c_void_p, ContextParams]),
                ("llama_free", None, [c_void_p]),
                ("llama_batch_init", Batch, [c_int32, c_int32, c_int32]),
                ("llama_batch_free", None, [Batch]),
                ("llama_decode", c_int32, [c_void_p, Batch]),
                ("llama_synchronize", None, [c_void_p]),
                ("llama_get_logits_ith", POINTER(c_float), [c_void_p, c_int32]),
                ("llama_get_memory", c_void_p, [c_void_p]),
                ("llama_memory_clear", None, [c_void_p, c_bool]),
                ("llama_memory_seq_rm", c_bool, [c_void_p, c_int32, c_int32, c_int32]),
                ("llama_memory_seq_cp", None, [c_void_p, c_int32, c_int32, c_int32, c_int32]),
                ("llama_print_system_info", c_char_p, []),
                ("llama_log_set", None, [LogCallback, c_void_p])):
            function = getattr(self.c, name)
            function.restype, function.argtypes = result, arguments

    def check_layout(self):
        model, context = self.c.llama_model_default_params(), self.c.llama_context_default_params()
        seen = (model.gpu_layers, model.split_mode, model.load_mode, model.lazy_mode, model.repack, model.no_alloc,
                context.n_ctx, context.n_batch, context.n_ubatch, context.n_seq_max, context.pooling,
                context.flash_attention, context.yarn_ext, context.defrag, context.type_k, context.type_v,
                context.no_perf, context.swa_full, context.kv_unified, context.n_samplers, context.other)
        known = (-1, 1, -1, 1, True, False, 512, 2048, 512, 1, -1, -1, -1.0, -1.0, 1, 1, True, True, False, 0, None)
        if seen != known:
            raise SystemExit(f"llama_library: the structures of {VERSION} have other defaults: {known} expected, {seen} found")

    def fail(self, what):
        raise SystemExit(f"llama_library: {what}\n" + "".join(self.messages[-20:]))

    def load(self, path):
        """Weights are read, not mapped, and repacked for this CPU: llama.cpp's fastest layout, kept once in memory."""
        params = self.c.llama_model_default_params()
        params.gpu_layers = 0
        params.load_mode = 0
        return self.c.llama_model_load_from_file(str(path).encode(), params) or self.fail(f"{path}: cannot be loaded")

    def context(self, model, tokens, sequences, threads, batch, yarn):
        """Flash attention on, F16 cache, `tokens` positions for each sequence; `yarn` is config.json's rope_scaling."""
        params = self.c.llama_context_default_params()
        params.n_ctx = (tokens + 255) // 256 * 256 * sequences
        params.n_seq_max = sequences
        params.n_batch = params.n_ubatch = batch
        params.n_outputs_max = params.n_outputs_max_per_seq = 0
        params.n_threads = params.n_threads_batch = threads
        params.flash_attention = 1
        params.yarn_fast, params.yarn_slow = yarn.get("beta_fast", -1), yarn.get("beta_slow", -1)
        return self.c.llama_init_from_model(model, params) or self.fail("no context")
