// SPDX-License-Identifier: Apache-2.0
#include "baltoro/cli/command.h"

namespace baltoro::cli {

// Declared here, defined in the file of the same name.
void add_bench(CLI::App& app);
void add_chat(CLI::App& app);
void add_complete(CLI::App& app);
void add_deviation(CLI::App& app);
void add_inspect(CLI::App& app);
void add_logits(CLI::App& app);
void add_serve(CLI::App& app);
void add_synth(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_verify(CLI::App& app);

const std::vector<AddCommand>& commands() {
  static const std::vector<AddCommand> list = {
      add_bench,  add_chat,  add_complete, add_deviation, add_inspect,
      add_logits, add_serve, add_synth,    add_tokenize,  add_verify,
  };
  return list;
}

}  // namespace baltoro::cli
