// SPDX-License-Identifier: Apache-2.0
#include "baltoro/model/verify.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "baltoro/base/file.h"
#include "baltoro/base/json.h"
#include "baltoro/base/terminal.h"
#include "baltoro/cli/command.h"
#include "baltoro/cli/failure.h"
#include "baltoro/model/golden_replay.h"
#include "baltoro/model/memory_plan.h"

namespace baltoro::cli {
namespace {

constexpr std::uint64_t kMaxChecksumBytes = std::uint64_t{256} << 20;

struct VerifyCommand {
  model::VerifyOptions verify;
  std::string write_checksums;  // "-": stdout
  std::string checksums;
  bool structure_only = false;
  bool no_golden = false;
  bool force_memory = false;
  bool json = false;
};

// What the golden replay came to: its runs, or why there was none.
struct GoldenOutcome {
  std::vector<model::GoldenReplay> replays;
  std::string note;
  bool failed = false;
};

Result<GoldenOutcome> run_golden(const VerifyCommand& command) {
  GoldenOutcome outcome;
  const std::string file = join_path(command.verify.dir, "golden.safetensors");
  if (command.no_golden || !file_exists(file)) {
    outcome.note = command.no_golden ? "skipped" : "the folder has no golden.safetensors";
    return outcome;
  }
  BALTORO_TRY(std::shared_ptr<const model::Weights> weights, model::open_weights(command.verify.dir));
  BALTORO_TRY(const MachineMemory machine, machine_memory());
  model::MemoryRequest request;
  request.context_tokens = std::min<std::int64_t>(4096, weights->config.max_position_embeddings);
  request.decoder.math = model::Math::kF32;
  BALTORO_TRY(const model::MemoryPlan plan, model::plan_memory(*weights, request, machine));
  if (auto status = model::check_memory(plan, command.force_memory); !status.ok()) {
    outcome.note = "not replayed: " + status.error().message;
    return outcome;
  }
  BALTORO_TRY(outcome.replays, model::replay_golden(std::move(weights), file, command.verify.threads));
  for (const auto& replay : outcome.replays) outcome.failed |= !replay.passed();
  return outcome;
}

json::Value replay_json(const model::GoldenReplay& r) {
  return json::Object{{"math", math_name(r.math)},
                      {"logits", r.logits_name},
                      {"max", r.logits.max},
                      {"rms", r.logits.rms},
                      {"golden_bf16_rms", r.golden_bf16_rms},
                      {"hidden_max", r.hidden_max},
                      {"attention_max", r.attention_max},
                      {"first_bad_layer", r.first_bad_layer},
                      {"routed", r.tokens_routed},
                      {"routed_alike", r.tokens_routed_alike},
                      {"greedy", r.greedy},
                      {"greedy_alike", r.greedy_alike},
                      {"passed", r.passed()}};
}

void print_json(const VerifyCommand& command, const model::VerifyReport& report, const GoldenOutcome& golden) {
  json::Array problems;
  for (const auto& problem : report.problems) {
    problems.push_back(json::Object{{"tensor", problem.tensor}, {"message", problem.message}});
  }
  json::Array replays;
  for (const auto& replay : golden.replays) replays.push_back(replay_json(replay));
  const json::Value value =
      json::Object{{"dir", command.verify.dir},
                   {"passed", report.problem_count == 0 && !golden.failed},
                   {"tensors", report.tensor_count},
                   {"bytes", report.bytes},
                   {"data_read", !report.tensors.empty()},
                   {"resumed_tensors", report.resumed},
                   {"seconds", report.seconds},
                   {"checksum", report.tensors.empty() ? json::Value(nullptr) : model::checkpoint_checksum(report)},
                   {"negative_scales", report.negative_scales},
                   {"problem_count", report.problem_count},
                   {"problems", std::move(problems)},
                   {"golden", std::move(replays)},
                   {"golden_note", golden.note}};
  fmt::print("{}\n", json::dump(value));
}

void print_replay(const model::GoldenReplay& r) {
  fmt::print("golden       {:<5} against {}: max {:.2e}, RMS {:.2e}{}", math_name(r.math), r.logits_name, r.logits.max,
             r.logits.rms,
             r.golden_bf16_rms > 0 ? fmt::format(" (the golden's bf16 run: {:.2e})", r.golden_bf16_rms) : "");
  if (r.tokens_routed > 0) fmt::print(", routing {}/{}", r.tokens_routed_alike, r.tokens_routed);
  if (r.greedy > 0) fmt::print(", greedy {}/{}", r.greedy_alike, r.greedy);
  if (r.math == model::Math::kF32 && r.first_bad_layer >= 0) fmt::print(", first bad layer {}", r.first_bad_layer);
  fmt::print(": {}\n", r.passed() ? "passed" : "FAILED");
}

void print_text(const VerifyCommand& command, const model::VerifyReport& report, const GoldenOutcome& golden) {
  for (const auto& problem : report.problems) {
    fmt::print("problem      {}: {}\n", escape_for_terminal(problem.tensor), escape_for_terminal(problem.message));
  }
  if (report.problem_count > static_cast<std::int64_t>(report.problems.size())) {
    fmt::print("             and {} more\n", report.problem_count - static_cast<std::int64_t>(report.problems.size()));
  }
  fmt::print("tensors      {} in {}: {}\n", report.tensor_count, format_bytes(report.bytes),
             report.problem_count == 0
                 ? "as the config calls for"
                 : fmt::format("{} problem{}", report.problem_count, report.problem_count == 1 ? "" : "s"));
  if (!report.tensors.empty()) {
    const double read = static_cast<double>(report.bytes) / std::max(report.seconds, 1e-9);
    fmt::print("data         {}read in {}{}; checksum {}\n", report.problem_count == 0 ? "all values finite, " : "",
               format_duration(report.seconds),
               report.resumed > 0 ? fmt::format(" ({} tensors before)", report.resumed)
                                  : fmt::format(" ({}/s)", format_bytes(static_cast<std::uint64_t>(read))),
               model::checkpoint_checksum(report));
    if (report.negative_scales > 0) fmt::print("note         {} scales are negative\n", report.negative_scales);
  }
  if (!command.checksums.empty()) fmt::print("checksums    compared with {}\n", command.checksums);
  for (const auto& replay : golden.replays) print_replay(replay);
  if (!golden.note.empty()) fmt::print("golden       {}\n", golden.note);
  fmt::print("result       {}\n", report.problem_count == 0 && !golden.failed ? "passed" : "FAILED");
}

Status handle_checksums(const VerifyCommand& command, model::VerifyReport& report) {
  if (!command.checksums.empty()) {
    BALTORO_TRY(const std::string expected, read_file(command.checksums, kMaxChecksumBytes));
    BALTORO_TRY_STATUS(model::compare_checksums(expected, report));
  }
  if (command.write_checksums == "-") {
    fmt::print("{}", model::checksum_text(report));
  } else if (!command.write_checksums.empty()) {
    BALTORO_TRY_STATUS(write_file_atomically(command.write_checksums, model::checksum_text(report)));
  }
  return {};
}

// Exit code.
Result<int> run(VerifyCommand& command) {
  const std::string& list = command.checksums.empty() ? command.write_checksums : command.checksums;
  if (command.verify.journal.empty() && !list.empty() && list != "-") command.verify.journal = list + ".progress";
  if (command.structure_only) command.verify.journal.clear();
  command.verify.read_data = !command.structure_only;
  if (command.json) command.verify.progress = ProgressStyle::kJsonLines;
  BALTORO_TRY(model::VerifyReport report, model::verify_checkpoint(command.verify));
  const bool structure_holds = report.problem_count == 0;
  BALTORO_TRY_STATUS(handle_checksums(command, report));
  GoldenOutcome golden;
  if (structure_holds) {
    BALTORO_TRY(golden, run_golden(command));
  } else {
    golden.note = "not replayed: the tensors have problems";
  }
  command.json ? print_json(command, report, golden) : print_text(command, report, golden);
  return report.problem_count == 0 && !golden.failed ? 0 : kExitFailure;
}

}  // namespace

void add_verify(CLI::App& app) {
  auto command = std::make_shared<VerifyCommand>();
  CLI::App* sub = app.add_subcommand("verify", "Check a model folder: structure, values, checksums, golden results");
  sub->add_option("DIR", command->verify.dir, "model folder")->required();
  auto* write =
      sub->add_option("--write-checksums", command->write_checksums, "write SHA-256 of each tensor (- : stdout)");
  auto* check = sub->add_option("--checksums", command->checksums, "compare with a file that --write-checksums wrote");
  sub->add_option("--journal", command->verify.journal,
                  "remembers finished tensors, so that an interrupted run goes on (default: CHECKSUMS.progress)");
  auto* structure = sub->add_flag("--structure-only", command->structure_only, "read headers, no data");
  structure->excludes(write)->excludes(check);
  sub->add_flag("--no-golden", command->no_golden, "do not replay golden.safetensors");
  sub->add_flag("--force-memory", command->force_memory, "replay although the memory plan says that it does not fit");
  sub->add_option("--threads", command->verify.threads, "0: all cores")->capture_default_str();
  sub->add_flag("--json", command->json, "report as JSON, progress as JSON lines on stderr");
  sub->callback([command] {
    const auto code = run(*command);
    finish(code.ok() ? *code : report_error("verify", code.error()));
  });
}

}  // namespace baltoro::cli
