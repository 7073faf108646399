// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "baltoro/base/clock.h"
#include "baltoro/base/sha256.h"
#include "baltoro/server/http.h"

namespace baltoro::server {

struct IdempotencyLimits {
  std::size_t max_answers = 4096;                        // kept ones
  std::size_t max_bytes = std::size_t{64} << 20;         // of all kept ones
  std::size_t max_answer_bytes = std::size_t{16} << 20;  // of one
  double keep_seconds = 24 * 3600;                       // from an answer's end
  std::function<double()> clock = steady_seconds;
};

// What requests with an Idempotency-Key were answered: however often one comes, the model works once. Who comes while
// the first answer is being made gets it too, from its start on; who comes later gets it again, as long as it is kept.
// Answers that failed, and those that all their clients left, are forgotten: then the next one is the first. Oldest
// answers go first. Thread-safe.
class IdempotentAnswers {
 public:
  using Wake = std::function<void()>;
  struct Asked {
    std::string whose;  // a client and what it called: keys are its own
    std::string key;    // as sent
    Sha256Digest body;
  };

  explicit IdempotentAnswers(IdempotencyLimits limits = {});
  ~IdempotentAnswers();  // before that, every Reply must be gone
  IdempotentAnswers(const IdempotentAnswers&) = delete;
  IdempotentAnswers& operator=(const IdempotentAnswers&) = delete;

  struct Given {
    std::unique_ptr<Reply> reply;  // null: refused, with
    int status = 0;            // 400: the key is not 1 to 255 visible characters; 409: the body is another one's, or
    std::string_view message;  // the answer was too large to be kept
  };
  // `make` is called if this is the first, and gets the wake to call. The answer says `Idempotent-Replayed: true` to
  // all others.
  Given answer(const Asked& asked, Wake wake, const std::function<std::unique_ptr<Reply>(Wake)>& make);

 private:
  class Running;
  class Follower;
  struct Entry {
    Sha256Digest body;
    std::shared_ptr<Running> answer;  // null: over, and too large
    std::size_t followers = 0;
    std::size_t bytes = 0;              // over, and kept
    double until = 0;                   // the same
    std::list<std::string> place = {};  // in kept_, before that: its one element
    std::list<std::string>::iterator kept = {};
  };
  using Entries = std::unordered_map<std::string, Entry>;

  bool leave(const std::string& name, const Running* answer, bool over);
  void keep(const std::string& name, const Running* answer, bool whole, std::size_t bytes);
  void make_room();
  void drop(Entries::iterator entry);

  const IdempotencyLimits limits_;
  std::mutex mutex_;  // may be locked under a Running's, never the other way round
  Entries entries_;
  std::list<std::string> kept_;  // names, oldest first
  std::size_t bytes_ = 0;
};

}  // namespace baltoro::server
