// Threads of librdkafka, which come from thrd_create, that cannot be had.
#pragma once

#include <atomic>

namespace support {

/// While it is true there are none.
[[nodiscard]] std::atomic<bool>& has_no_c11_threads() noexcept;

}  // namespace support
