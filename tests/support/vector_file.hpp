// Test vectors as files: '#' begins a comment, '>' a line that says what the frame decodes to, the rest is hex.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace support {

struct VectorFile {
  std::string name;
  std::string text;  ///< as text_of() writes it
  std::vector<std::byte> frame;

  /// Of another implementation or a later version: this library reads it and never writes it.
  [[nodiscard]] bool foreign() const { return name.find(".foreign.") != std::string::npos; }
  /// Damaged, though a right checksum may cover it.
  [[nodiscard]] bool malformed() const { return text == "malformed\n"; }
  [[nodiscard]] bool other_version() const { return text == "other_version\n"; }
};

inline VectorFile read_vector(const std::filesystem::path& path) {
  VectorFile vector{.name = path.filename().string(), .text = {}, .frame = {}};
  std::ifstream file{path};
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    if (line.starts_with("> ")) {
      vector.text += line.substr(2) + '\n';
      continue;
    }
    for (std::size_t at = 0; at + 1 < line.size(); at += 3) {
      vector.frame.push_back(static_cast<std::byte>(std::stoi(line.substr(at, 2), nullptr, 16)));
    }
  }
  return vector;
}

/// All files of a directory, by name.
inline std::vector<VectorFile> read_vectors(const std::filesystem::path& directory) {
  std::vector<VectorFile> vectors;
  for (const auto& entry : std::filesystem::directory_iterator{directory}) vectors.push_back(read_vector(entry.path()));
  std::sort(vectors.begin(), vectors.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return vectors;
}

}  // namespace support
