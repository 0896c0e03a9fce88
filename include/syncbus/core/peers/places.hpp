// Where the nodes of a channel are, if the transport knows: at one server, or at several that may lose messages between
// themselves.
#pragma once

#include <cstdint>

namespace syncbus::inline v1::core {

/// A *place* is one running server, as a number that all who are there know. A node tells its place only while it could
/// be nowhere else: it knows of no other server. Two at one place lose nothing of each other but in an interruption
/// that each notices: what the server took it gives to everybody who is there, in order, or it cuts them off. So who
/// falls silent at our place has died, or has lost its connection, and all that it had published has come.
///
/// Servers behind one name need not tell that they are several; then a node may come back at another one, and be cut
/// off from us there. So if anybody is at another place, nobody's silence is taken for harmless until our next session.
class Places {
 public:
  /// The transport's word about our own, which holds until it says otherwise; 0: not known.
  void here(std::uint64_t place) noexcept { own_ = place; }
  [[nodiscard]] std::uint64_t here() const noexcept { return own_; }

  void begin_session() noexcept { several_ = false; }

  /// A node itself told its place; 0: it did not.
  void told(std::uint64_t place) noexcept { several_ = several_ || (place != 0 && place != own_); }

  /// Whether a node with this place loses nothing of us, nor we of it.
  [[nodiscard]] bool is_here(std::uint64_t place) const noexcept { return place != 0 && place == own_ && !several_; }

 private:
  std::uint64_t own_ = 0;
  bool several_ = false;
};

}  // namespace syncbus::inline v1::core
