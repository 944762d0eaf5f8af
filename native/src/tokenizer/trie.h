// Strings of bytes with a number each, found from their beginnings on.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

class Trie {
 public:
  static constexpr int32_t nothing = -1;
  static constexpr uint32_t root = 1, nowhere = 0;  // nodes

  Trie();

  // Raises Failure where it becomes too large. Of equal strings the last counts.
  void add(std::string_view string, int32_t number);

  // The node behind one byte more; `nowhere` if no string goes on so.
  uint32_t next(uint32_t node, char byte) const {
    const uint32_t key = node << 8 | static_cast<uint8_t>(byte);
    for (uint32_t slot = hash(key);; slot = (slot + 1) & mask_) {
      if (edges_[slot].key == key) return edges_[slot].node;
      if (!edges_[slot].node) return nowhere;
    }
  }

  // The node behind a string.
  uint32_t find(std::string_view string) const {
    uint32_t node = root;
    for (const char byte : string)
      if (!(node = next(node, byte))) break;
    return node;
  }

  // Of the string that ends at a node.
  int32_t number(uint32_t node) const { return numbers_[node]; }

 private:
  struct Edge {
    uint32_t key = 0, node = nowhere;
  };

  uint32_t hash(uint32_t key) const { return key * 0x9E3779B1u >> shift_; }
  void grow();
  void place(Edge edge);

  std::vector<Edge> edges_;
  std::vector<int32_t> numbers_{nothing, nothing};
  uint32_t mask_ = 0, shift_ = 0;
};
