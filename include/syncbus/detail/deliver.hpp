// From a received item to handlers: what the dispatch loop of an engine does with each.
#pragma once

#include <syncbus/core/events_frame.hpp>
#include <syncbus/core/receive_queue.hpp>
#include <syncbus/detail/local_dispatch.hpp>
#include <syncbus/event.hpp>

namespace syncbus::inline v1::detail {

/// Has subscribers hear every event of a frame, in its order. Late ones say invalidate: what they set may be older than what
/// has been heard since.
inline void deliver_frame(Bytes frame, bool late, LocalDispatch& subscribers) noexcept {
  core::EventsView events = core::reread_events(frame);
  const NodeId origin = events.origin();
  core::WireEvent event;
  while (events.next(event)) {
    if (event.type == EventType::resync) {
      subscribers.dispatch_resync({event.cause, origin}, false);
      continue;
    }
    if (late && event.type != EventType::lease_revoked) event.type = EventType::invalidate;
    subscribers.dispatch({event.type, event.key, event.version, origin}, false);
  }
}

inline void deliver(const core::ReceiveQueue::Item& item, LocalDispatch& subscribers) noexcept {
  using Kind = core::ReceiveQueue::Item::Kind;
  switch (item.kind) {
    case Kind::frame: deliver_frame(item.frame, item.late, subscribers); return;
    case Kind::resync: subscribers.dispatch_resync(item.resync, false); return;
    case Kind::event:
      subscribers.dispatch({item.event.type, item.event.key, item.event.version, item.event.origin}, false);
      return;
  }
}

}  // namespace syncbus::inline v1::detail
