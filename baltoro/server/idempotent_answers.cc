// SPDX-License-Identifier: Apache-2.0
#include "baltoro/server/idempotent_answers.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

namespace baltoro::server {
namespace {

constexpr std::size_t kMaxKeyBytes = 255;
constexpr std::size_t kEntryBytes = 512;  // what an entry takes beside its answer

bool good_key(std::string_view key) {
  return !key.empty() && key.size() <= kMaxKeyBytes &&
         std::ranges::all_of(key, [](char c) { return c > ' ' && c < 127; });
}

}  // namespace

// One answer and all who read it. Whoever reads first moves it on.
class IdempotentAnswers::Running {
 public:
  Running(IdempotentAnswers& owner, std::string name) : owner_(owner), name_(std::move(name)) {}

  void set(std::unique_ptr<Reply> reply) {
    const std::lock_guard lock(mutex_);
    inner_ = std::move(reply);
    wake_all();
  }
  void join(const void* follower, Wake wake) {
    const std::lock_guard lock(wakes_mutex_);
    wakes_.emplace(follower, std::move(wake));
  }
  void leave(const void* follower) {
    {
      const std::lock_guard lock(wakes_mutex_);
      wakes_.erase(follower);
    }
    const std::lock_guard lock(mutex_);
    if (owner_.leave(name_, this, over_)) inner_.reset();
  }
  // From any thread, also under the locks of who makes the answer: only wakes_mutex_ is taken.
  void wake_all() {
    const std::lock_guard lock(wakes_mutex_);
    for (const auto& [follower, wake] : wakes_) wake();
  }

  std::optional<Response> head() {
    const std::lock_guard lock(mutex_);
    move_on();
    return head_;
  }
  // Appends what there is behind `at` bytes, and moves `at`.
  bool pull(std::string& out, std::size_t& at) {
    const std::lock_guard lock(mutex_);
    move_on();
    out.append(bytes_, at);
    at = bytes_.size();
    return over_;
  }
  template <typename Call>
  void tell(const Call& call) {
    const std::lock_guard lock(mutex_);
    if (inner_) call(*inner_);
  }
  LogFields log_fields() {
    const std::lock_guard lock(mutex_);
    return inner_ ? inner_->log_fields() : fields_;
  }

 private:
  void move_on() {
    if (!inner_) return;
    try {
      if (!head_) head_ = inner_->head();
      if (!head_ || (head_->stream && !inner_->pull(bytes_))) return;
      fields_ = inner_->log_fields();
    } catch (...) {  // no memory: what is there may be cut anywhere
      end(false);
      throw;
    }
    end(head_->status < 400 && inner_->whole());
  }
  void end(bool whole) {
    over_ = true;
    inner_.reset();
    owner_.keep(name_, this, whole, (head_ ? head_->body.size() : 0) + bytes_.size());
    wake_all();
  }

  IdempotentAnswers& owner_;
  const std::string name_;
  std::mutex mutex_;  // what follows
  std::unique_ptr<Reply> inner_;
  std::optional<Response> head_;
  std::string bytes_;  // of a stream
  LogFields fields_;
  bool over_ = false;
  std::mutex wakes_mutex_;
  std::map<const void*, Wake> wakes_;
};

class IdempotentAnswers::Follower final : public Reply {
 public:
  Follower(std::shared_ptr<Running> answer, bool first) : answer_(std::move(answer)), first_(first) {}
  ~Follower() override { answer_->leave(this); }

  std::optional<Response> head() override {
    auto head = answer_->head();
    if (!head || first_) return head;
    // The key's limits, as they were then, are of no use now.
    std::erase_if(head->headers, [](const auto& field) { return field.first.starts_with("X-RateLimit-"); });
    head->headers.emplace_back("Idempotent-Replayed", "true");
    return head;
  }
  bool pull(std::string& out) override { return answer_->pull(out, at_); }
  void idle() override {
    answer_->tell([](Reply& reply) { reply.idle(); });
  }
  void woken() override {
    answer_->tell([](Reply& reply) { reply.woken(); });
  }
  void stop() override {
    answer_->tell([](Reply& reply) { reply.stop(); });
  }
  LogFields log_fields() const override {
    if (first_) return answer_->log_fields();
    return {{"replayed", std::int64_t{1}}};
  }

 private:
  const std::shared_ptr<Running> answer_;
  const bool first_;
  std::size_t at_ = 0;
};

IdempotentAnswers::IdempotentAnswers(IdempotencyLimits limits) : limits_(std::move(limits)) {}
IdempotentAnswers::~IdempotentAnswers() = default;

IdempotentAnswers::Given IdempotentAnswers::answer(const Asked& asked, Wake wake,
                                                   const std::function<std::unique_ptr<Reply>(Wake)>& make) {
  const auto refuse = [](int status, std::string_view message) { return Given{nullptr, status, message}; };
  if (!good_key(asked.key)) return refuse(400, "Idempotency-Key: 1 to 255 visible characters are needed");
  const std::string name = asked.whose + ' ' + asked.key;
  auto running = std::make_shared<Running>(*this, name);
  std::unique_ptr<Follower> follower;
  bool first = false;
  {
    const std::lock_guard lock(mutex_);
    make_room();
    const auto found = entries_.find(name);
    first = found == entries_.end();
    if (!first && found->second.body != asked.body)
      return refuse(409, "Idempotency-Key: another request was sent with this key");
    if (!first && found->second.answer == nullptr)
      return refuse(409, "Idempotency-Key: this request's answer was too large to be kept");
    if (!first) running = found->second.answer;
    follower = std::make_unique<Follower>(running, first);
    if (first) {
      entries_.try_emplace(name, Entry{.body = asked.body, .answer = running, .followers = 1, .place = {name}});
    } else {
      ++found->second.followers;
    }
  }
  try {
    running->join(follower.get(), std::move(wake));
    if (!first) return {.reply = std::move(follower), .message = {}};
    running->set(make([weak = std::weak_ptr(running)] {
      if (const auto self = weak.lock()) self->wake_all();
    }));
  } catch (...) {
    if (first) running->set(make_reply({.status = 503}));  // for those who follow
    throw;
  }
  return {.reply = std::move(follower), .message = {}};
}

// True: nobody is left and the answer is not complete.
bool IdempotentAnswers::leave(const std::string& name, const Running* answer, bool over) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.answer.get() != answer) return !over;
  if (--found->second.followers > 0 || over) return false;
  entries_.erase(found);
  return true;
}

void IdempotentAnswers::keep(const std::string& name, const Running* answer, bool whole, std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end() || found->second.answer.get() != answer) return;
  if (!whole) return void(entries_.erase(found));
  Entry& entry = found->second;
  kept_.splice(kept_.end(), entry.place);
  entry.kept = std::prev(kept_.end());
  const bool fits = bytes <= limits_.max_answer_bytes;
  if (!fits) entry.answer = nullptr;
  entry.bytes = (fits ? bytes : 0) + kEntryBytes;
  entry.until = limits_.clock() + limits_.keep_seconds;
  bytes_ += entry.bytes;
  make_room();
}

void IdempotentAnswers::make_room() {
  while (!kept_.empty()) {
    const auto oldest = entries_.find(kept_.front());
    const bool many = kept_.size() > limits_.max_answers || bytes_ > limits_.max_bytes;
    if (!many && oldest->second.until > limits_.clock()) return;
    drop(oldest);
  }
}

void IdempotentAnswers::drop(Entries::iterator entry) {
  bytes_ -= entry->second.bytes;
  kept_.erase(entry->second.kept);
  entries_.erase(entry);
}

}  // namespace baltoro::server
