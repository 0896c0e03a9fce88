// The two forms of an await, blocking and with a completion, over how a bus opens, waits and cancels.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <system_error>
#include <utility>

#include <syncbus/error.hpp>
#include <syncbus/local/await_call.hpp>
#include <syncbus/local/completion.hpp>
#include <syncbus/local/subscribers.hpp>
#include <syncbus/options.hpp>
#include <syncbus/quorum.hpp>

namespace syncbus::inline v1::detail {

/// Both are given `open(const std::shared_ptr<AwaitCall>&)`, which submits: if it returns no error the call ends once,
/// perhaps before open() returns. They are given `canceller(const std::shared_ptr<AwaitCall>&)`, which returns a
/// function that ends the call now, and that may be called when the bus is gone. `wait(AwaitCall&)` returns when the
/// call has ended; with an error if it had to cancel the call for that. A null completion throws invalid_argument.
template <class Open, class Canceller, class Wait>
[[nodiscard]] AwaitOutcome await_blocking(const Subscribers& subscribers, const AwaitOptions& options,
                                          const Open& open, const Canceller& canceller, const Wait& wait) {
  if (subscribers.in_handler()) return {.error = Errc::would_deadlock};
  const auto call = std::make_shared<AwaitCall>();
  if (const auto error = open(call)) return {.error = error};
  const bool stoppable = options.stop_token.stop_possible();
  const std::stop_callback on_stop{options.stop_token, stoppable ? canceller(call) : std::function<void()>{}};
  const std::error_code in_vain = wait(*call);
  AwaitOutcome outcome = call->take();
  if (in_vain && outcome.error == Errc::canceled) outcome.error = in_vain;
  return outcome;
}

template <class Open, class Canceller>
void await_async(Subscribers& subscribers, const AwaitOptions& options, Completion completion, const Open& open,
                 const Canceller& canceller) {
  if (completion.null()) throw std::system_error{Errc::invalid_argument, "async_await: no completion"};
  const auto call = std::make_shared<AwaitCall>(std::move(completion));
  if (const auto error = open(call)) {
    call->refuse(error);
    return subscribers.complete(*call);
  }
  // Its completion, called in there, may have destroyed the bus.
  if (options.stop_token.stop_possible() && !call->ended()) call->cancel_on(options.stop_token, canceller(call));
}

}  // namespace syncbus::inline v1::detail
