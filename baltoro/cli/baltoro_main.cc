// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <system_error>

#include "baltoro/base/mapped_file.h"
#include "baltoro/cli/command.h"
#include "baltoro/cli/failure.h"

int main(int argc, char** argv) {
  baltoro::install_mapping_fault_handler();
  try {
    CLI::App app{"Baltoro: run, serve and test models of the Kimi K2 family from their released folders", "baltoro"};
    app.set_version_flag("--version", std::string("baltoro ") + BALTORO_VERSION);
    app.require_subcommand(1);
    for (const auto add : baltoro::cli::commands()) add(app);
    try {
      app.parse(argc, argv);
    } catch (const CLI::RuntimeError& error) {  // a subcommand's own exit code
      return error.get_exit_code();
    } catch (const CLI::ParseError& error) {  // --help and --version too: those end with 0
      return app.exit(error) == 0 ? 0 : baltoro::cli::kExitUsage;
    }
    return 0;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "baltoro: no memory left: more is needed than this process may have (see ulimit -v)\n");
    return 70;
  } catch (const std::system_error& error) {
    const bool thread = error.code() == std::errc::resource_unavailable_try_again;
    std::fprintf(stderr, "baltoro: %s%s%s\n", thread ? "no thread to be had: " : "", error.what(),
                 thread ? "; it needs more memory or threads than this process may have (see ulimit -v, -u)" : "");
    return 70;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "baltoro: %s\n", error.what());
    return 70;
  }
}
