#include "trie.h"

#include "reader.h"

namespace {
constexpr uint32_t smallest = 10, most_nodes = 1u << 24;
}

Trie::Trie() : edges_(size_t{1} << smallest), mask_((1u << smallest) - 1), shift_(32 - smallest) {}

void Trie::add(std::string_view string, int32_t number) {
  uint32_t node = root;
  for (const char byte : string) {
    uint32_t after = next(node, byte);
    if (!after) {
      after = static_cast<uint32_t>(numbers_.size());
      if (after >= most_nodes) Reader::refuse("its vocabulary is too large");
      numbers_.push_back(nothing);
      if (numbers_.size() * 2 > edges_.size()) grow();
      place({node << 8 | static_cast<uint8_t>(byte), after});
    }
    node = after;
  }
  numbers_[node] = number;
}

void Trie::grow() {
  const std::vector<Edge> before = std::move(edges_);
  edges_.assign(before.size() * 2, {});
  mask_ = mask_ * 2 + 1;
  shift_--;
  for (const Edge &edge : before)
    if (edge.node) place(edge);
}

void Trie::place(Edge edge) {
  uint32_t slot = hash(edge.key);
  while (edges_[slot].node) slot = (slot + 1) & mask_;
  edges_[slot] = edge;
}
