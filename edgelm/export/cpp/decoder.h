// The graph that reads tokens and gives the logits of what may come next, with its cache; and an encoder before it.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "graphs.h"

// What an encoder made of a source: keys and values of the decoder's cross attention, by the decoder's names.
struct Memory {
  std::vector<std::string> names;
  std::vector<Ort::Value> values;
  std::vector<std::int64_t> mask;
};

// One text that grows, token by token.
//
// Keys and values lie in buffers that the graph reads as past and writes as present, in the same place: nothing is copied from step to
// step, but where a buffer is full and one of twice the size takes its place.
class Decoder {
 public:
  // `graph`: what the manifest says of it. `context`: tokens that are never exceeded; 0: no limit. `memory`: of an encoder-decoder.
  Decoder(Ort::Session session, const Json& graph, std::size_t context, Memory memory);

  // How many logits a token has.
  std::size_t vocabulary() const { return vocabulary_; }

  // Reads the next tokens, at least one; the logits of what may follow the last of them.
  std::vector<float> read(std::vector<std::int64_t> ids);

 private:
  struct Slot {  // keys or values of a layer
    std::string past, present;
    std::size_t heads, row_bytes;
    std::int64_t size;
    ONNXTensorElementDataType type;
    std::vector<std::byte> buffer;
  };

  void reserve(std::size_t positions);

  Ort::Session session_;
  Ort::IoBinding binding_;
  Ort::MemoryInfo memory_info_;
  Memory memory_;  // the binding keeps addresses alone
  std::vector<Slot> slots_;
  std::vector<std::string> tokens_, masks_, positions_, rows_, logits_;  // names; but for tokens and logits a graph need not have them
  std::size_t vocabulary_, context_, capacity_ = 0, length_ = 0;
};

// Reads a source of at least one token by the graph `encoder`, for the graph `decoder`.
Memory read_source(Ort::Session& session, const Json& encoder, const Json& decoder, std::vector<std::int64_t> ids);
