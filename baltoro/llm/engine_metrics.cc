// SPDX-License-Identifier: Apache-2.0
#include "baltoro/llm/engine_metrics.h"

namespace baltoro::llm {
namespace {

void add_disk_metrics(const engine::KvDiskStats& disk, BackendMetrics& metrics) {
  const auto add = [&](const char* name, auto value) { metrics.emplace_back(name, static_cast<double>(value)); };
  add("kv_disk_pages", disk.pages);
  add("kv_disk_bytes", disk.bytes);
  add("kv_disk_written_pages_total", disk.pages_written);
  add("kv_disk_written_bytes_total", disk.bytes_written);
  add("kv_disk_write_seconds_total", disk.write_seconds);
  add("kv_disk_write_errors_total", disk.write_errors);
  add("kv_disk_writes_stopped", disk.writes_stopped ? 1 : 0);
  add("kv_disk_unwritten_blocks", disk.blocks_unwritten);
  add("kv_disk_read_pages_total", disk.pages_read);
  add("kv_disk_read_bytes_total", disk.bytes_read);
  add("kv_disk_read_seconds_total", disk.read_seconds);
  add("kv_disk_restored_blocks_total", disk.blocks_restored);
  add("kv_disk_restored_requests_total", disk.requests_restored);
  add("kv_disk_evicted_pages_total", disk.pages_evicted);
  add("kv_disk_bad_pages_total", disk.pages_bad);
}

void add_expert_metrics(const model::ExpertStats& experts, BackendMetrics& metrics) {
  const auto add = [&](const char* name, auto value) { metrics.emplace_back(name, static_cast<double>(value)); };
  add("expert_cache_hits_total", experts.hits);
  add("expert_cache_late_total", experts.late);
  add("expert_cache_misses_total", experts.misses);
  add("expert_read_ahead_total", experts.read_ahead);
  add("expert_read_ahead_used_total", experts.read_ahead_used);
  add("expert_read_ahead_given_up_total", experts.read_ahead_given_up);
  add("expert_read_bytes_total", experts.bytes_read);
  add("expert_read_seconds_total", experts.read_seconds);
  add("expert_read_retries_total", experts.read_retries);
  add("expert_stall_seconds_total", experts.stall_seconds);
  add("expert_cache_slots", experts.slots);
  add("expert_cache_bytes", experts.cache_bytes);
  add("expert_reader_io_uring", experts.io_uring ? 1 : 0);
  add("expert_reader_direct", experts.direct ? 1 : 0);
}

}  // namespace

void add_engine_metrics(const engine::EngineStats& s, BackendMetrics& metrics) {
  const auto add = [&](const char* name, auto value) { metrics.emplace_back(name, static_cast<double>(value)); };
  add("requests_submitted_total", s.requests_submitted);
  add("requests_finished_total", s.requests_finished);
  add("requests_cancelled_total", s.requests_cancelled);
  add("requests_failed_total", s.requests_failed);
  add("tokens_prefilled_total", s.tokens_prefilled);
  add("tokens_cached_total", s.tokens_cached);
  add("tokens_prompt_total", s.tokens_prompt);
  add("prefix_hits_total", s.prefix_hits);
  add("prefix_whole_total", s.prefix_whole);
  add("prefix_new_total", s.prefix_new);
  add("prefix_differs_total", s.prefix_differs);
  add("tokens_decoded_total", s.tokens_decoded);
  add("steps_total", s.steps);
  add("step_seconds_total", s.step_seconds_total);
  add("preemptions_total", s.preemptions);
  add("requests_timed_out_total", s.requests_timed_out);
  add("requests_queued", s.requests_queued);
  add("tokens_queued", s.tokens_queued);
  add("sequences_running", s.sequences_running);
  add("sequences_waiting", s.sequences_waiting);
  add("kv_blocks", s.blocks_total);
  add("kv_blocks_free", s.blocks_free);
  add("kv_blocks_cached", s.blocks_cached);
  add("sequences_held", s.sequences_held);
  if (s.disk) add_disk_metrics(*s.disk, metrics);
  if (s.experts) add_expert_metrics(*s.experts, metrics);
}

std::vector<BackendHistogram> engine_histograms(const engine::EngineStats& s) {
  return {{"queue_seconds", "From a request's arrival to the start of its work", s.queue_seconds},
          {"step_seconds", "Duration of steps with running answers: the gap between their tokens", s.step_seconds},
          {"prompt_tokens", "Prompt tokens of each request begun", s.prompt_tokens},
          {"output_tokens", "Tokens of each answer", s.output_tokens},
          {"token_mask_seconds", "Making the mask of each constrained token", s.mask_seconds},
          {"batch_tokens", "Tokens of each step", s.batch_tokens},
          {"batch_sequences", "Sequences of each step", s.batch_sequences}};
}

}  // namespace baltoro::llm
