// SPDX-License-Identifier: Apache-2.0
// The stages of a part of the attention, see AttendStages. `scores` are those of each step, [lanes / kGroup groups,
// kAttendStep, kGroup] and kAttendLanes * kAttendStep apart, then the corrections [steps, kAttendLanes].

constexpr std::int64_t kStepScores = kAttendLanes * kAttendStep;

template <class Op>
void attend_score(const AttendArgs& args, std::int64_t part, std::int64_t begin, std::int64_t end, float* scores) {
  const AttendPart all(args, part);
  const AttendBuffers buffers = attend_buffers<Op>(args);
  pack_queries<Op>(args, buffers);
  for (std::int64_t p = begin; p < end; p += kAttendBlock) {
    const std::int64_t step = p / kAttendStep, within = p % kAttendStep;
    score_positions<Op>(args, buffers, all.begin + p, kAttendBlock, scores + step * kStepScores + within * kGroup);
  }
}

template <class Op>
void attend_weigh(const AttendArgs& args, std::int64_t part, std::int64_t begin, std::int64_t end, float* scores,
                  float* state) {
  const AttendPart all(args, part);
  const std::int64_t queries = args.tokens * args.heads;
  const AttendState to(queries, args.rank, state);
  float* corrections = scores + kAttendPart / kAttendStep * kStepScores;
  for (std::int64_t q = begin; q < round_up(end, kAttendGroup); q += kGroup) {
    float ends[kGroup];
    for (std::int64_t i = 0; i < kGroup; ++i) {
      ends[i] = static_cast<float>((q + i < queries ? q + i : queries - 1) / args.heads + 1);
    }
    for (std::int64_t p = all.begin; p < all.end; p += kAttendStep) {
      const std::int64_t step = (p - all.begin) / kAttendStep;
      weigh_group<Op>(args, p, all.step_end(p) - p, p == all.begin, ends, scores + step * kStepScores + q * kAttendStep,
                      to.maximum + q, to.sum + q, corrections + step * kAttendLanes + q);
    }
  }
}

template <class Op>
void attend_mix(const AttendArgs& args, std::int64_t part, std::int64_t begin, std::int64_t end, const float* scores,
                float* state) {
  const AttendPart all(args, part);
  const AttendState to(args.tokens * args.heads, args.rank, state);
  const float* corrections = scores + kAttendPart / kAttendStep * kStepScores;
  for (std::int64_t p = all.begin; p < all.end; p += kAttendStep) {
    const std::int64_t step = (p - all.begin) / kAttendStep;
    for (std::int64_t c = begin; c < end; c += kSlice) {
      mix_columns<Op>(args, p, all.step_end(p) - p, p == all.begin, c, scores + step * kStepScores,
                      corrections + step * kAttendLanes, attend_buffers<Op>(args).slice, to);
    }
  }
}

template <class Op>
constexpr AttendStages kAttendStages = {attend_score<Op>, attend_weigh<Op>, attend_mix<Op>};
