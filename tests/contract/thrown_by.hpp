// The error of a call that throws std::system_error.
#pragma once

#include <string>
#include <system_error>

namespace contract {

/// None when nothing is thrown. `sentence`, if given, takes what().
template <class Call>
std::error_code thrown_by(const Call& call, std::string* sentence = nullptr) {
  try {
    call();
    return {};
  } catch (const std::system_error& error) {
    if (sentence != nullptr) *sentence = error.what();
    return error.code();
  }
}

}  // namespace contract
