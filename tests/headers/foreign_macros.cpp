// A program that has included Qt, X11 and others before us: no name of ours is one of their macros. The headers of the
// standard library and of the clients, which may use such names, come first.
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <compare>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <initializer_list>
#include <iosfwd>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <ranges>
#include <set>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <typeinfo>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#if __has_include(<hiredis/hiredis.h>)
#include <hiredis/hiredis.h>
#endif
#if __has_include(<nats/nats.h>)
#include <nats/nats.h>
#endif
#if __has_include(<librdkafka/rdkafka.h>)
#include <librdkafka/rdkafka.h>
#endif

#undef linux
#undef major
#undef minor
#undef makedev
#undef unix

// Qt.
#define signals @
#define slots @
#define emit @
#define foreach(variable, container) @
#define forever @

// X11.
#define Above @
#define Always @
#define Below @
#define Bool @
#define Complex @
#define CursorShape @
#define False @
#define FocusIn @
#define KeyPress @
#define None @
#define Status @
#define Success @
#define True @
#define Unsorted @

// The C library, compilers, Windows and habit.
#define ABS(x) @
#define CHECK(x) @
#define CONST @
#define DEBUG @
#define DELETE @
#define ERROR @
#define FALSE @
#define I @
#define IGNORE @
#define IN @
#define INFO @
#define INTERFACE @
#define LOG(x) @
#define MAX(a, b) @
#define MIN(a, b) @
#define NO_ERROR @
#define OK @
#define OPTIONAL @
#define OUT @
#define STRICT @
#define TRUE @
#define VOID @
#define WARNING @
#define complex @
#define far @
#define interface @
#define linux @
#define major(x) @
#define makedev(a, b) @
#define max(a, b) @
#define min(a, b) @
#define minor(x) @
#define near @
#define small @
#define unix @

#include "all_headers.cpp"
