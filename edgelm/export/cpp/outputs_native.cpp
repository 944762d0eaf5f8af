// See outputs.h: all by edgelm-native.

#include <edgelm_native.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <thread>

#include "outputs.h"

namespace {

struct Free {
  void operator()(edgelm_native_tokenizer* tokenizer) const { edgelm_native_tokenizer_free(tokenizer); }
  void operator()(edgelm_native_model* model) const { edgelm_native_free(model); }
};
template <class Kind> using Owned = std::unique_ptr<Kind, Free>;

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path.string() + ": cannot be read; edgelm-native does not run every model");
  return {std::istreambuf_iterator<char>(file), {}};
}

// Of a text or a pair: ids and types, of as many tokens.
std::array<std::vector<std::int64_t>, 2> tokenize(const std::filesystem::path& bundle, const std::string& first, const char* second) {
  const std::string file = read_file(bundle / "native.tokenizer");
  edgelm_native_tokenizer* made = nullptr;
  std::array<char, 300> message{};
  if (edgelm_native_tokenizer_load(file.data(), file.size(), &made, message.data(), message.size())) {
    throw std::runtime_error(std::string("native.tokenizer: ") + message.data());
  }
  const Owned<edgelm_native_tokenizer> tokenizer(made);
  std::size_t longest = 0;
  edgelm_native_tokenizer_settings(tokenizer.get(), &longest, nullptr, nullptr);
  std::array<std::vector<std::int64_t>, 2> tokens = {std::vector<std::int64_t>(longest), std::vector<std::int64_t>(longest)};
  const std::int64_t count = edgelm_native_tokenize(tokenizer.get(), first.data(), first.size(), second, second ? std::strlen(second) : 0,
                                                    tokens[0].data(), tokens[1].data(), longest);
  if (count == -EDGELM_NATIVE_UNKNOWN_TEXT) throw std::runtime_error("the text has a character that versions of Unicode differ in");
  if (count < 0) throw std::runtime_error("the text is no UTF-8");
  if (count == 0) throw std::runtime_error("the text becomes no token, and the model cannot read nothing");
  for (auto& values : tokens) values.resize(static_cast<std::size_t>(count));
  return tokens;
}

}  // namespace

std::vector<double> outputs_of(const std::filesystem::path& bundle, const Json& manifest, const std::string& first, const char* second) {
  const Json graph = find_graphs(manifest, {"model"}).at(0);
  const std::string program = read_file(bundle / "native.program"), weights = read_file(bundle / "weights.bin");
  edgelm_native_model* made = nullptr;
  std::array<char, 300> message{};
  if (edgelm_native_load(program.data(), program.size(), weights.data(), weights.size(), nullptr, &made, message.data(), message.size())) {
    throw std::runtime_error(std::string("native.program: ") + message.data());
  }
  const Owned<edgelm_native_model> model(made);
  const auto [ids, types] = tokenize(bundle, first, second);
  const std::string wanted = graph.at("outputs").at(0).at("name");
  std::vector<std::vector<float>> rows;
  std::vector<float*> places;
  std::vector<std::size_t> sizes;
  int found = -1;
  for (int index = 0; index < edgelm_native_outputs(model.get()); ++index) {
    std::size_t width = 0;
    int per_token = 0;
    if (edgelm_native_output(model.get(), index, &width, &per_token) == wanted) found = index;
    rows.emplace_back(width * (per_token ? ids.size() : 1));
    places.push_back(rows.back().data());
    sizes.push_back(rows.back().size());
  }
  if (found < 0) throw std::runtime_error("native.program: it has no " + wanted);
  int threads = graph.at("session").value("intra_op_num_threads", 0);
  if (threads < 1) threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (edgelm_native_run(model.get(), ids.data(), nullptr, types.data(), 1, ids.size(), threads, places.data(), sizes.data(),
                        message.data(), message.size())) {
    throw std::runtime_error(message.data());
  }
  const std::vector<float>& row = rows[static_cast<std::size_t>(found)];
  return {row.begin(), row.end()};
}
