// Turns the NATS client's text of a refusal into a sentence for the user. Pure.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <syncbus/error.hpp>
#include <syncbus/transport/session/session_error.hpp>

namespace syncbus::inline v1::detail {

/// Good for words only: the client keeps one text, the last, whatever its subject, and cuts it off.
class NatsRefusal {
 public:
  /// `text`: the client's; empty if there is none. `subject`: of the bus.
  NatsRefusal(std::string text, const std::string& subject)
      : text_{std::move(text)},
        subject_{subject},
        directed_{says('"' + subject + ".direct.")},
        ours_{directed_ || says('"' + subject + '"')} {}

  /// Whether it is about a subject of the bus.
  [[nodiscard]] bool is_ours() const noexcept { return ours_; }

  /// Whether no more was lost than a directed frame, which nobody promised.
  [[nodiscard]] bool costs_a_frame() const noexcept { return directed_ && !is_of_subscribing(); }

  [[nodiscard]] DisconnectReason end() const {
    return {Errc::permission_denied, std::string{"the NATS user may not "} +
                                         (is_of_subscribing() ? "subscribe to" : "publish on") + " '" + subject_ +
                                         (directed_ ? ".direct.*" : "") + "': grant publish and subscribe on '" +
                                         subject_ + "' and '" + subject_ + ".direct.*'"};
  }

 private:
  [[nodiscard]] bool says(std::string_view words) const noexcept { return text_.find(words) != std::string::npos; }
  [[nodiscard]] bool is_of_subscribing() const noexcept { return says("Subscription"); }

  std::string text_;
  std::string subject_;
  bool directed_;
  bool ours_;
};

}  // namespace syncbus::inline v1::detail
