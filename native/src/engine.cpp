#include "engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace {

constexpr size_t line = 64, most_rows = size_t{1} << 22;
constexpr int most_threads = 1024;
// What onnxruntime's attention adds to the scores of padding: no share is left of them, unless all is padding.
constexpr float hidden = -10000.0f;

const Kernels &choose(const char *set) {
  for (const Kernels *kernels : available_kernels())
    if (!set || std::string(set) == kernels->name) return *kernels;
  throw Failure(2, "the instruction set '" + std::string(set).substr(0, 40) + "' does not run here");
}

// Pairs of numbers, each by an angle.
void turn(float *low, float *high, const float *cosines, const float *sines, size_t count) {
  for (size_t i = 0; i < count; i++) {
    const float x = low[i], y = high[i];
    low[i] = x * cosines[i] - y * sines[i];
    high[i] = y * cosines[i] + x * sines[i];
  }
}

// Whether any of the tokens that a halved one stands for is no padding.
template <class Tokens> bool seen_before(const Tokens &tokens, size_t sequence, size_t halved) {
  const float *mask = tokens.mask.data() + sequence * tokens.count;
  if (halved == 0) return mask[0] > 0;
  return mask[2 * halved - 1] > 0 || (2 * halved < tokens.count && mask[2 * halved] > 0);
}

bool is_attention(const Step &step) { return step.operation == Operation::attention; }
bool is_pooling(const Step &step) { return step.operation == Operation::first || step.operation == Operation::mean; }

}  // namespace

const std::vector<const Kernels *> &available_kernels() {
  static const std::vector<const Kernels *> found = [] {
    std::vector<const Kernels *> all;
#if defined(__x86_64__)
    all = {&avx512vnni_kernels, &avxvnni_kernels, &avx2_kernels};
#elif defined(__aarch64__)
    all = {&i8mm_kernels, &dotprod_kernels};
#endif
    all.push_back(&reference_kernels);
    all.erase(std::remove_if(all.begin(), all.end(), [](const Kernels *k) { return !k->runs(); }), all.end());
    return all;
  }();
  return found;
}

Engine::Engine(const void *program, size_t program_bytes, const void *weights, size_t weights_bytes, const char *set)
    : kernels_(&choose(set)),
      program_(read_program(static_cast<const char *>(program), program_bytes, static_cast<const uint8_t *>(weights),
                            weights_bytes, kernels_->layout)) {}

void Engine::check(const Inputs &in, const size_t *sizes) const {
  if (!in.ids || in.batch < 1 || in.tokens < 1) throw Failure(2, "there are no tokens");
  if (in.tokens > program_.longest)
    throw Failure(2, std::to_string(in.tokens) + " tokens; the model takes " + std::to_string(program_.longest));
  if (in.batch > most_rows / in.tokens) throw Failure(2, "too many sequences at once");
  const size_t rows = in.batch * in.tokens;
  for (const Step &step : program_.steps)
    for (const Lookup &lookup : step.lookups) {
      const int64_t *indices = lookup.source == Source::ids ? in.ids : lookup.source == Source::types ? in.types : nullptr;
      const auto most = static_cast<int64_t>(lookup.rows);
      const auto highest = lookup.source == Source::positions ? static_cast<int64_t>(in.tokens) - 1 + lookup.offset
                           : lookup.source == Source::counted ? static_cast<int64_t>(in.tokens) + lookup.offset
                                                              : 0;
      if (highest >= most) throw Failure(2, std::to_string(in.tokens) + " tokens; there are too few positions");
      for (size_t i = 0; indices && i < rows; i++)
        if (indices[i] < 0 || indices[i] >= most)
          throw Failure(2, "index " + std::to_string(indices[i]) + " where the table has " + std::to_string(most) + " rows");
    }
  for (size_t i = 0; i < program_.outputs.size(); i++) {
    const Buffer &buffer = program_.buffers[static_cast<size_t>(program_.outputs[i].buffer)];
    if (buffer.per_token > 1) throw Failure(1, "an output of tokens that were halved");
    if (sizes[i] != (buffer.per_token ? rows : in.batch) * buffer.width)
      throw Failure(2, "the place for " + program_.outputs[i].name + " has another size");
  }
}

// One piece of memory for all buffers and the threads' scratch; it grows and stays.
void Engine::make_room(const Inputs &in, int threads) {
  int levels = 1;
  for (const Buffer &buffer : program_.buffers) levels = std::max(levels, buffer.per_token);
  tokens_.resize(static_cast<size_t>(levels));
  size_t count = in.tokens;
  for (Tokens &tokens : tokens_) {
    tokens.count = count, tokens.keys = padded(count);
    count = count / 2 + 1;
  }
  std::vector<size_t> sizes;
  for (const Buffer &buffer : program_.buffers) {
    const Tokens &tokens = tokens_[static_cast<size_t>(std::max(buffer.per_token, 1)) - 1];
    const size_t width = padded(buffer.width);
    const size_t numbers = buffer.kind == Buffer::Kind::keys ? in.batch * buffer.width * tokens.keys
                                                             : in.batch * (buffer.per_token ? tokens.count : 1) * width;
    sizes.push_back(numbers * (buffer.kind == Buffer::Kind::bytes ? 1 : sizeof(float)));
  }
  for (int i = 0; i < threads; i++) sizes.push_back(4 * tokens_.front().keys * sizeof(float));
  size_t total = line;
  for (size_t &size : sizes) total += size = (size + line - 1) / line * line + line;  // blocks may be read beyond the end
  if (total > memory_bytes_) {
    memory_.reset();
    memory_bytes_ = 0;
    memory_.reset(new uint8_t[total]());
    memory_bytes_ = total;
  }
  uint8_t *at = memory_.get() + (line - reinterpret_cast<uintptr_t>(memory_.get()) % line) % line;
  places_.clear();
  scratch_.clear();
  for (size_t i = 0; i < sizes.size(); at += sizes[i++])
    if (i < program_.buffers.size())
      places_.push_back(at);
    else
      scratch_.push_back(reinterpret_cast<float *>(at));
}

void Engine::prepare(const Inputs &in) {
  for (size_t level = 0; level < tokens_.size(); level++) {
    Tokens &tokens = tokens_[level];
    tokens.mask.assign(in.batch * tokens.count, 1.0f);
    tokens.added.assign(in.batch * tokens.keys, 0.0f);
    for (size_t i = 0; program_.reads_mask && in.mask && i < tokens.mask.size(); i++) {
      const size_t sequence = i / tokens.count, token = i % tokens.count;
      const bool seen = level == 0 ? in.mask[i] > 0 : seen_before(tokens_[level - 1], sequence, token);
      if (seen) continue;
      tokens.mask[i] = 0.0f;
      tokens.added[sequence * tokens.keys + token] = hidden;
    }
  }
  answered_.assign(program_.steps.size() * in.batch, 0);
  for (const Step &step : program_.steps)
    for (const Lookup &lookup : step.lookups) {
      if (lookup.source != Source::counted) continue;
      counted_.assign(in.batch * in.tokens, 0);
      for (size_t sequence = 0; sequence < in.batch; sequence++) {
        int32_t count = 0;
        for (size_t i = sequence * in.tokens; i < (sequence + 1) * in.tokens; i++)
          if (in.ids[i] != lookup.skipped) counted_[i] = ++count;
      }
    }
}

void Engine::run(const Inputs &in, int threads, float *const *outputs, const size_t *sizes) {
  if (threads < 1 || threads > most_threads) throw Failure(2, "no number of threads: " + std::to_string(threads));
  if (!outputs || !sizes) throw Failure(2, "there is no place for the outputs");
  const std::lock_guard<std::mutex> lock(mutex_);
  check(in, sizes);
  threads = static_cast<int>(std::min<size_t>(static_cast<size_t>(threads), in.batch * in.tokens));
  make_room(in, threads);
  prepare(in);
  crew_.run(threads, [&](int thread) { work(in, thread, threads); });
  for (size_t i = 0; i < program_.outputs.size(); i++) {
    const int buffer = program_.outputs[i].buffer;
    const size_t width = program_.buffers[static_cast<size_t>(buffer)].width;
    for (size_t row = 0; row < sizes[i] / width; row++)
      std::memcpy(outputs[i] + row * width, floats(buffer) + row * stride(buffer), width * sizeof(float));
  }
}

// Whether a step reads rows that another thread may have made.
bool Engine::crosses_rows(const Step &step) const {
  return is_attention(step) || is_pooling(step) || step.operation == Operation::halve;
}

void Engine::work(const Inputs &in, int thread, int threads) {
  const auto index = static_cast<size_t>(thread), count = static_cast<size_t>(threads);
  uint8_t *answered = answered_.data(), *before = nullptr;
  for (const Step &step : program_.steps) {
    if (crosses_rows(step)) crew_.meet();
    const int made = step.output != none ? step.output : step.bytes != none ? step.bytes : step.keys;
    const size_t rows = in.batch * (per_token(made) ? tokens(made).count : 1);
    const Range range = {rows * index / count, rows * (index + 1) / count};
    if (step.operation != Operation::leave) {
      if (range.first < range.last) run_step(step, in, range, thread);
      continue;
    }
    leave(step, range, answered, before);
    crew_.meet();
    if (std::all_of(answered, answered + in.batch, [](uint8_t each) { return each; })) return;
    before = answered, answered += in.batch;  // where nobody reads any more what is written next
  }
}

// Takes the answers of texts whose largest logit is further above the next than the threshold; below 0, of all.
void Engine::leave(const Step &s, Range range, uint8_t *answered, const uint8_t *before) {
  for (size_t row = range.first; row < range.last; row++) {
    const float *x = floats(s.input) + row * stride(s.input);
    float largest = -std::numeric_limits<float>::infinity(), next = largest;
    for (size_t i = 0; i < s.width; i++) next = std::max(next, std::min(x[i], largest)), largest = std::max(largest, x[i]);
    const bool there = before && before[row], sure = s.threshold < 0 || largest - next > s.threshold;
    if (sure && !there) std::memcpy(floats(s.output) + row * stride(s.output), x, s.width * sizeof(float));
    answered[row] = there || sure;
  }
}

Quantizer Engine::quantizer(const Step &s, size_t row) {
  return {s.factors, s.byte_scale, 1.0f / s.byte_scale, s.byte_zero, bytes(s.bytes) + row * stride(s.bytes), stride(s.bytes)};
}

void Engine::run_step(const Step &s, const Inputs &in, Range range, int thread) {
  if (s.operation == Operation::embed) return embed(s, in, range);
  if (is_attention(s)) return attend(s, in, range, thread);
  if (is_pooling(s)) return pool(s, range);
  if (s.operation == Operation::halve) return halve(s, range);
  if (s.operation == Operation::rotate) return rotate(s, in, range);
  if (s.operation == Operation::linear || s.operation == Operation::dense) {
    Epilogue e;
    e.scales = s.scales, e.bias = s.bias, e.activation = s.activation;
    if (s.other != none) e.residual = floats(s.other), e.residual_stride = stride(s.other);
    Target &t = e.target;
    t.kind = s.target;
    if (t.kind == Target::Kind::rows) t.to = floats(s.output), t.stride = stride(s.output);
    if (t.kind == Target::Kind::bytes) t.quantizer = quantizer(s, 0);
    if (t.kind == Target::Kind::heads) {
      if (s.queries != none) t.queries = floats(s.queries);
      t.keys = floats(s.keys), t.values = floats(s.values);
      t.width = s.head_width, t.head_stride = stride(s.values);
      t.tokens = tokens(s.keys).count, t.key_tokens = tokens(s.keys).keys;
    }
    if (s.operation == Operation::linear)
      kernels_->integer_product(s.integers, bytes(s.input), stride(s.input), range.first, range.last, e);
    else
      kernels_->float_product(s.floats, floats(s.input), stride(s.input), range.first, range.last, e);
    return;
  }
  for (size_t row = range.first; row < range.last; row++) {
    const float *x = floats(s.input) + row * stride(s.input);
    float *to = s.output != none ? floats(s.output) + row * stride(s.output) : nullptr;
    const Quantizer q = s.bytes != none ? quantizer(s, row) : Quantizer{};
    switch (s.operation) {
      case Operation::norm:
        kernels_->norm(x, s.width, s.gain, s.bias, s.epsilon, to, s.bytes != none ? &q : nullptr);
        break;
      case Operation::quantize: kernels_->quantize(x, s.width, q); break;
      case Operation::add: kernels_->add(x, floats(s.other) + row * stride(s.other), s.width, to); break;
      case Operation::activate: kernels_->activate(s.activation, x, nullptr, s.width, to, nullptr); break;
      case Operation::gate:
        kernels_->activate(s.activation, x, x + s.width, s.width, to, s.bytes != none ? &q : nullptr);
        break;
      default: kernels_->unit(x, s.width, to);
    }
  }
}

void Engine::embed(const Step &s, const Inputs &in, Range range) {
  for (size_t row = range.first; row < range.last; row++) {
    float *to = floats(s.output) + row * stride(s.output);
    for (size_t i = 0; i < s.lookups.size(); i++) {
      const Lookup &lookup = s.lookups[i];
      int64_t index = 0;
      switch (lookup.source) {
        case Source::ids: index = in.ids[row]; break;
        case Source::types: index = in.types ? in.types[row] : 0; break;
        case Source::positions: index = static_cast<int64_t>(row % in.tokens) + lookup.offset; break;
        case Source::counted: index = counted_[row] + lookup.offset; break;
        case Source::zero: break;
      }
      kernels_->look_up(lookup.table, static_cast<size_t>(index), to, i > 0);
    }
  }
}

// Queries of tokens, or one of each sequence; in either case those of the range, a sequence after the other.
void Engine::attend(const Step &s, const Inputs &in, Range range, int thread) {
  const Tokens &all = tokens(s.keys);
  const size_t each = per_token(s.queries) ? all.count : 1;
  for (size_t row = range.first; row < range.last;) {
    const size_t sequence = row / each, last = std::min(range.last, (sequence + 1) * each);
    Attention a;
    a.queries = floats(s.queries), a.query_stride = stride(s.queries), a.stride = stride(s.values);
    a.keys = floats(s.keys) + sequence * s.heads * s.width * all.keys;
    a.values = floats(s.values) + sequence * all.count * a.stride;
    a.heads = s.heads, a.size = s.width, a.tokens = all.count, a.key_tokens = all.keys, a.scale = s.scale;
    if (s.masked && in.mask) a.mask = all.added.data() + sequence * all.keys;
    a.near = s.near, a.reach = s.reach, a.first_row = sequence * each;
    a.asked = s.asked, a.asking = s.asking, a.table_stride = s.table_stride;
    a.to = floats(s.output), a.to_stride = stride(s.output);
    kernels_->attend(a, row, last, scratch_[static_cast<size_t>(thread)]);
    row = last;
  }
  for (size_t row = range.first; s.bytes != none && row < range.last; row++)
    kernels_->quantize(floats(s.output) + row * stride(s.output), s.heads * s.width, quantizer(s, row));
}

// Rotary positions (Su et al., arXiv:2104.09864): queries row by row, keys with the tokens of a sequence side by side.
void Engine::rotate(const Step &s, const Inputs &in, Range range) {
  const size_t half = s.width / 2, key_tokens = tokens(s.keys).keys;
  for (size_t row = range.first; row < range.last; row++) {
    const float *cosines = s.cosines + row % in.tokens * half, *sines = s.sines + row % in.tokens * half;
    float *low = floats(s.queries) + row * stride(s.queries);
    for (size_t head = 0; head < s.heads; head++, low += s.width) turn(low, low + half, cosines, sines, half);
  }
  for (size_t row = range.first; row < range.last;) {
    const size_t sequence = row / in.tokens, last = std::min(range.last, (sequence + 1) * in.tokens);
    const size_t token = row - sequence * in.tokens;
    float *keys = floats(s.keys) + sequence * s.heads * s.width * key_tokens + token;
    for (size_t head = 0; head < s.heads; head++)
      for (size_t i = 0; i < half; i++) {
        float *low = keys + (head * s.width + i) * key_tokens;
        turn(low, low + half * key_tokens, s.turned_cosines + i * s.reach + token, s.turned_sines + i * s.reach + token,
             last - row);
      }
    row = last;
  }
}

// The first row of a sequence, and of each two others their mean; of two of which one is padding, the other.
void Engine::halve(const Step &s, Range range) {
  const Tokens &all = tokens(s.input);
  const size_t left = tokens(s.output).count;
  for (size_t row = range.first; row < range.last; row++) {
    const size_t sequence = row / left, token = row % left;
    const size_t first = sequence * all.count + (token ? 2 * token - 1 : 0);
    const bool two = token && 2 * token < all.count && (!s.masked || all.mask[first] == all.mask[first + 1]);
    const bool second = token && 2 * token < all.count && !two && all.mask[first] == 0.0f;
    float *to = floats(s.output) + row * stride(s.output);
    kernels_->mean(floats(s.input) + (first + second) * stride(s.input), stride(s.input), 1 + two, nullptr, s.width, to);
    if (s.bytes != none) kernels_->quantize(to, s.width, quantizer(s, row));
  }
}

void Engine::pool(const Step &s, Range range) {
  const Tokens &all = tokens(s.input);
  for (size_t sequence = range.first; sequence < range.last; sequence++) {
    const float *x = floats(s.input) + sequence * all.count * stride(s.input);
    float *to = floats(s.output) + sequence * stride(s.output);
    if (s.operation == Operation::first)
      std::memcpy(to, x, s.width * sizeof(float));
    else
      kernels_->mean(x, stride(s.input), all.count, s.masked ? all.mask.data() + sequence * all.count : nullptr, s.width, to);
  }
}
