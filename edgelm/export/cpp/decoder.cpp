// See decoder.h.

#include "decoder.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <utility>

namespace {

constexpr std::size_t kFirstCapacity = 256;  // positions; then twice as many each time

std::size_t as_size(const Json& value, const std::string& what) {
  if (!value.is_number_unsigned()) throw std::runtime_error("manifest.json: " + what + " must be a number");
  return value;
}

// The tensor of this role, and of this layer.
const Json& find(const Json& tensors, const std::string& role, const Json& layer) {
  for (const Json& tensor : tensors) {
    if (tensor.at("role") == role && tensor.at("layer") == layer) return tensor;
  }
  throw std::runtime_error("manifest.json: a graph lacks the " + role + " of layer " + layer.dump());
}

// Whether keys and values are tensors that grow: their positions are those of the mask then.
bool grows(const Json& inputs, const Json& present) {
  return std::any_of(inputs.begin(), inputs.end(), [&](const Json& tensor) {
    return tensor.at("role") == "mask" && tensor.at("shape").at(1) == present.at("shape").at(2);
  });
}

// How a number of the cache is kept.
struct Kept {
  ONNXTensorElementDataType type;
  std::size_t bytes;
};

Kept kept_as(const std::string& dtype) {
  if (dtype == "float32") return {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, 4};
  if (dtype == "float16") return {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, 2};
  if (dtype == "int8") return {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, 1};
  throw std::runtime_error("manifest.json: keys and values are float32, float16 or int8, not " + dtype);
}

}  // namespace

Decoder::Decoder(Ort::Session session, const Json& graph, std::size_t context, Memory memory)
    : session_(std::move(session)),
      binding_(session_),
      memory_info_(Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault)),
      memory_(std::move(memory)),
      context_(context) {
  const Json &inputs = graph.at("inputs"), &outputs = graph.at("outputs");
  tokens_ = names_of(inputs, "tokens"), masks_ = names_of(inputs, "mask"), positions_ = names_of(inputs, "positions");
  rows_ = names_of(inputs, "rows"), logits_ = names_of(outputs, "logits");
  const std::vector<std::string> memory_masks = names_of(inputs, "memory-mask");
  if (tokens_.size() != 1 || logits_.size() != 1) throw std::runtime_error("manifest.json: the decoder lacks tokens or logits");
  const Json& logits = find(outputs, "logits", nullptr);
  if (logits.at("dtype") != "float32") throw std::runtime_error("manifest.json: logits are float32");
  vocabulary_ = as_size(logits.at("shape").back(), "the number of logits");
  for (const Json& past : inputs) {
    const std::string role = past.at("role");
    if (role != "past-key" && role != "past-value") continue;
    const Json& present = find(outputs, role == "past-key" ? "present-key" : "present-value", past.at("layer"));
    if (grows(inputs, present)) {
      throw std::runtime_error("this bundle's graph is for engines of a GPU; export the model with `--device cpu` for this program");
    }
    const Kept kept = kept_as(past.at("dtype"));
    const std::size_t size = as_size(past.at("shape").at(3), "the size of a head");
    slots_.push_back({past.at("name"), present.at("name"), as_size(past.at("shape").at(1), "the number of heads"), size * kept.bytes,
                      static_cast<std::int64_t>(size), kept.type, {}});
  }
  for (std::size_t i = 0; i < memory_.names.size(); ++i) binding_.BindInput(memory_.names[i].c_str(), memory_.values[i]);
  for (const std::string& name : memory_masks) binding_.BindInput(name.c_str(), as_tensor(memory_.mask));
}

std::vector<float> Decoder::read(std::vector<std::int64_t> ids) {
  const std::size_t total = length_ + ids.size();
  reserve(total);
  std::vector<std::int64_t> mask(total, 1), places(ids.size()), wanted = {static_cast<std::int64_t>(ids.size()) - 1};
  std::iota(places.begin(), places.end(), static_cast<std::int64_t>(length_));
  const auto give = [this](const std::vector<std::string>& names, std::vector<std::int64_t>& values) {
    for (const std::string& name : names) binding_.BindInput(name.c_str(), as_tensor(values));
  };
  give(tokens_, ids), give(masks_, mask), give(positions_, places), give(rows_, wanted);
  const std::size_t rows = rows_.empty() ? ids.size() : 1;  // else there are logits of every token
  std::vector<float> logits(rows * vocabulary_);
  const std::array<std::int64_t, 3> shape = {1, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(vocabulary_)};
  binding_.BindOutput(logits_[0].c_str(),
                      Ort::Value::CreateTensor<float>(memory_info_, logits.data(), logits.size(), shape.data(), shape.size()));
  session_.Run(Ort::RunOptions{nullptr}, binding_);
  length_ = total;
  logits.erase(logits.begin(), logits.end() - static_cast<std::ptrdiff_t>(vocabulary_));
  return logits;
}

// Room for so many positions; those that were read stay.
void Decoder::reserve(std::size_t positions) {
  if (positions <= capacity_) return;
  std::size_t capacity = kFirstCapacity;
  while (capacity < positions) capacity *= 2;
  if (context_ > 0) capacity = std::min(capacity, context_);
  if (capacity < positions) throw std::runtime_error("the text would have more tokens than the model reads");
  for (Slot& slot : slots_) {
    std::vector<std::byte> buffer(slot.heads * capacity * slot.row_bytes);
    for (std::size_t head = 0; head < slot.heads && length_ > 0; ++head) {
      std::memcpy(buffer.data() + head * capacity * slot.row_bytes, slot.buffer.data() + head * capacity_ * slot.row_bytes,
                  length_ * slot.row_bytes);
    }
    slot.buffer = std::move(buffer);
    const std::array<std::int64_t, 4> shape = {1, static_cast<std::int64_t>(slot.heads), static_cast<std::int64_t>(capacity), slot.size};
    const Ort::Value shared =
        Ort::Value::CreateTensor(memory_info_, slot.buffer.data(), slot.buffer.size(), shape.data(), shape.size(), slot.type);
    binding_.BindInput(slot.past.c_str(), shared);
    binding_.BindOutput(slot.present.c_str(), shared);
  }
  capacity_ = capacity;
}

Memory read_source(Ort::Session& session, const Json& encoder, const Json& decoder, std::vector<std::int64_t> ids) {
  Memory memory;
  memory.mask.assign(ids.size(), 1);
  std::vector<std::string> given;
  for (const Json& wanted : decoder.at("inputs")) {
    const std::string role = wanted.at("role");
    if (role != "cross-key" && role != "cross-value") continue;
    given.push_back(find(encoder.at("outputs"), role, wanted.at("layer")).at("name"));
    memory.names.push_back(wanted.at("name"));
  }
  std::vector<const char*> inputs, outputs;
  std::vector<Ort::Value> values;
  const std::vector<std::string> tokens = names_of(encoder.at("inputs"), "tokens"), masks = names_of(encoder.at("inputs"), "mask");
  for (const std::string& name : tokens) inputs.push_back(name.c_str()), values.push_back(as_tensor(ids));
  for (const std::string& name : masks) inputs.push_back(name.c_str()), values.push_back(as_tensor(memory.mask));
  for (const std::string& name : given) outputs.push_back(name.c_str());
  memory.values = session.Run(Ort::RunOptions{nullptr}, inputs.data(), values.data(), values.size(), outputs.data(), outputs.size());
  return memory;
}
