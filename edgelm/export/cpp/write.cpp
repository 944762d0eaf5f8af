// Writes what comes after a prompt with a bundle, or the translation or summary of a text, where there is no Python. manifest.json says
// what the model is and how it writes, ONNX Runtime runs its graphs, and the Hugging Face tokenizers library (in tokenizer/) makes tokens
// of text and text of tokens.
//
// Needs CMake, a C++17 compiler, Rust's cargo, and ONNX Runtime (the release archive for the device, unpacked). In the bundle:
//
//     cmake -S cpp -B ../write -DONNXRUNTIME_ROOT=/path/to/onnxruntime      build outside: a bundle stays as it was made
//     cmake --build ../write
//     ../write/write . "Once upon a time"
//     ../write/write . - < text.txt                                         reads the prompt, as it is there
//     ../write/write . --set max_new_tokens=64 --set do_sample=true --set temperature=0.8 --set seed=1 "Once upon a time"
//     ../write/write . --json "Once upon a time"                            a JSON line, as of `python run.py`, with the tokens as "ids"
//
// The text is shown as it comes. Greedy, or drawn (temperature, top_k, top_p, min_p); penalties, forced and forbidden tokens and stop
// strings are those of the manifest, or of --set. What is drawn is not what the Python runtime draws by the same seed.
// Beams are refused, and so is a prompt of more tokens than the model reads. Chat templates are programs, which are not run here: give
// the prompt as the template makes it, with --templated, so that no special token is put before it once more.
// A bundle that is one file (.edgelm) is a zip archive: unpack it first. Hashes are not checked here: `python run.py --verify` does.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "bundle.h"
#include "choosing.h"
#include "decoder.h"
#include "settings.h"
#include "streaming.h"
#include "tokenizer.h"

constexpr std::size_t kPiece = 256;  // tokens of a long prompt that are read at once

struct Arguments {
  std::filesystem::path bundle;
  std::optional<std::string> prompt;
  std::vector<std::string> changes;
  int threads = 0;
  bool templated = false, json = false;
};

// None where the call is wrong.
std::optional<Arguments> read_arguments(int count, char** words) {
  Arguments found;
  bool options = true;
  for (int place = 1; place < count; ++place) {
    const std::string word = words[place];
    if (options && word == "--") {
      options = false;
    } else if (options && word == "--templated") {
      found.templated = true;
    } else if (options && word == "--json") {
      found.json = true;
    } else if (options && word == "--set" && place + 1 < count) {
      found.changes.push_back(words[++place]);
    } else if (options && word == "--threads" && place + 1 < count) {
      found.threads = std::atoi(words[++place]);
      if (found.threads < 1) return std::nullopt;
    } else if (options && word.size() > 1 && word[0] == '-') {
      return std::nullopt;
    } else if (found.bundle.empty()) {
      found.bundle = word;
    } else if (!found.prompt) {
      found.prompt = word;
    } else {
      return std::nullopt;
    }
  }
  if (!found.prompt) return std::nullopt;
  if (*found.prompt == "-") found.prompt = std::string(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  return found;
}

// What a bundle is, opened.
struct Model {
  std::size_t context = 0;  // the longest prompt, in tokens; 0: no limit
  std::size_t longest = 0;  // the longest text of the decoder
  bool has_encoder = false;
  std::string prefix;  // before every source
};

Model read_model(const Json& manifest) {
  const Json& task = manifest.at("task");
  const std::string kind = task.at("kind");
  Model found;
  if (kind != "text-generation" && kind != "translation" && kind != "summarization") {
    throw std::runtime_error("manifest.json: the model is for " + kind + "; this example is for models that write. `python run.py` answers it");
  }
  found.has_encoder = kind != "text-generation";
  found.prefix = task.value("prefix", "");
  found.context = task.value("context", std::size_t{0});
  if (found.context == 0) found.context = manifest.at("tokenization").at("max_length");
  return found;
}

// Where the pieces of a prompt end. None has one token alone, unless there is but one: kernels sum in another order then.
std::vector<std::size_t> piece_ends(std::size_t count) {
  std::vector<std::size_t> ends;
  std::size_t begin = 0;
  for (; count - begin > kPiece + 1; begin += kPiece) ends.push_back(begin + kPiece);
  ends.push_back(count);
  return ends;
}

int main(int count, char** words) try {
  const std::optional<Arguments> arguments = read_arguments(count, words);
  if (!arguments) {
    std::cerr << "usage: " << words[0] << " BUNDLE PROMPT [--set NAME=VALUE]... [--threads N] [--templated] [--json]\n"
              << "PROMPT: a text, or - to read it from the standard input; -- before one that begins with -\n";
    return 2;
  }
  const std::filesystem::path& bundle = arguments->bundle;
  const Json manifest = read_manifest(bundle);
  const Model model = read_model(manifest);
  const Settings settings = read_settings(manifest.at("task"), arguments->changes);

  const bool split_special = manifest.at("tokenization").value("split_special", false) && !arguments->templated;
  const Tokenizer tokenizer(bundle, 0, false, split_special);
  const std::vector<std::int64_t> prompt = tokenizer.encode(model.prefix + *arguments->prompt, nullptr, !arguments->templated).ids;
  if (prompt.empty()) throw std::runtime_error("an empty prompt, and the model has no token to begin with");
  if (model.context > 0 && prompt.size() > model.context) {
    throw std::runtime_error("the prompt has " + std::to_string(prompt.size()) + " tokens; the model reads " + std::to_string(model.context));
  }

  Ort::Env environment = start_onnxruntime();
  Memory memory;
  std::vector<std::int64_t> tokens = prompt;
  Json graph;
  std::size_t context = model.context;
  if (model.has_encoder) {
    const std::vector<Json> graphs = find_graphs(manifest, {"encoder", "decoder"});
    graph = graphs[1];
    if (!settings.decoder_start_id) throw std::runtime_error("manifest.json: the token that the decoder starts with is missing");
    tokens = {*settings.decoder_start_id};
    if (names_of(graph.at("inputs"), "positions").empty()) context = 0;  // without a table of positions it writes as long as it is let
    Ort::Session encoder = open_graph(environment, bundle, manifest, graphs[0], arguments->threads);
    memory = read_source(encoder, graphs[0], graph, prompt);
  } else {
    graph = find_graphs(manifest, {"decoder"})[0];
  }
  Decoder decoder(open_graph(environment, bundle, manifest, graph, arguments->threads, true), graph, context, std::move(memory));
  Chooser choose(settings, decoder.vocabulary());

  // A prompt goes on where it ends; an answer begins anew.
  const bool goes_on = !model.has_encoder && !arguments->templated;
  TextStream stream(tokenizer, settings.stop, goes_on ? prompt : std::vector<std::int64_t>{});
  const std::size_t begin = tokens.size();
  std::size_t most = settings.max_new_tokens;
  if (context > 0) most = std::min(most, context - begin + 1);
  std::string text, finish;
  const auto say = [&](const std::string& piece) {
    text += piece;
    if (!arguments->json) std::cout << piece << std::flush;
  };
  std::vector<float> logits;
  std::size_t done = 0;
  for (const std::size_t end : piece_ends(tokens.size())) {
    logits = decoder.read({tokens.begin() + static_cast<std::ptrdiff_t>(done), tokens.begin() + static_cast<std::ptrdiff_t>(end)});
    done = end;
  }
  while (true) {
    const std::int64_t token = choose(tokens, tokens.size() - begin, std::move(logits));
    tokens.push_back(token);
    if (std::find(settings.eos_ids.begin(), settings.eos_ids.end(), token) != settings.eos_ids.end()) finish = "stop";
    if (finish.empty() && tokens.size() - begin == most) finish = "length";
    say(stream.push(token));
    if (stream.stopped()) finish = "stop";
    if (!finish.empty()) break;
    logits = decoder.read({token});
  }
  say(stream.finish());
  if (stream.stopped()) finish = "stop";
  if (arguments->json) {
    const std::vector<std::int64_t> written(tokens.begin() + static_cast<std::ptrdiff_t>(begin), tokens.end());
    const Json answer = {
        {"text", text}, {"tokens", written.size()}, {"finish", finish}, {"prompt_tokens", prompt.size()}, {"ids", written}};
    std::cout << to_line({{"text", *arguments->prompt}, {"answer", answer}});
  }
  std::cout << "\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << "Error: " << error.what() << "\n";
  return 1;
}
