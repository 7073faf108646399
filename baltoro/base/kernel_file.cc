// SPDX-License-Identifier: Apache-2.0
#include "baltoro/base/kernel_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "baltoro/base/file.h"

namespace baltoro {
namespace {

constexpr std::size_t kMaxBytes = 1 << 20;

bool names(std::string_view list, std::string_view word) {
  for (;;) {
    const std::size_t comma = list.find(',');
    if (list.substr(0, comma) == word) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

std::vector<std::string> folders_up(const std::string& mount, std::string path) {
  std::vector<std::string> folders;
  for (;; path.resize(path.find_last_of('/'))) {
    folders.push_back(mount + path);
    if (path.find('/') == std::string::npos) return folders;
  }
}

}  // namespace

std::optional<std::string> read_kernel_file(const std::string& path) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.open()) return std::nullopt;
  std::string content;
  char buffer[4096];
  ssize_t got = 0;
  while (content.size() < kMaxBytes && (got = ::read(fd.get(), buffer, sizeof buffer)) > 0) {
    content.append(buffer, static_cast<std::size_t>(got));
  }
  if (got < 0) return std::nullopt;
  return content;
}

std::optional<std::int64_t> leading_number(std::string_view text) {
  const std::size_t digit = text.find_first_not_of(" \t");
  if (digit == std::string_view::npos) return std::nullopt;
  text.remove_prefix(digit);
  std::int64_t value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) return std::nullopt;
  return value;
}

std::optional<ControlGroups> control_groups(std::string_view controller, const std::string& root) {
  const auto groups = read_kernel_file(root + "/proc/self/cgroup");
  if (!groups) return std::nullopt;
  std::optional<ControlGroups> found;
  std::string_view rest = *groups;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string path(line.substr(second + 1));
    const std::string mount = root + "/sys/fs/cgroup";
    if (controllers.empty() && !found) {
      found = ControlGroups{.unified = true, .folders = folders_up(mount, path)};
    } else if (names(controllers, controller)) {
      found = ControlGroups{.unified = false, .folders = folders_up(mount + "/" + std::string(controllers), path)};
    }
  }
  return found;
}

}  // namespace baltoro
