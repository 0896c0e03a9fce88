// The codec: every byte of the protocol, and the headers that read and write them.
//
// Integers are little-endian. A *varint* is LEB128: seven bits a byte, lowest first, the high bit says that more
// follow; at most ten bytes, the shortest form only. A *string* is its length in one byte and so many bytes. *Fields*
// is a block of optional fields: a varint with its length in bytes, then for each field a tag byte, a varint length, so
// many bytes; unknown tags are skipped. Where none is defined it is written as one zero byte. Decoding copies,
// allocates and recurses never.
//
// HEADER, of every frame (frame_header.hpp). A frame is at most 64 MiB.
//
//   offset  bytes  what
//        0      4  magic "sbus"                        fixed in every version
//        4      1  major protocol version: 1           fixed in every version
//        5      1  type: 1 events, 2 heartbeat, 3 acknowledgement, 4 repair request, 5 repair,
//                  6 welcome
//        6      2  zero; ignored when read
//        8      4  CRC32C of all other bytes of the frame, 0 to 7 and 12 to the end     fixed in every version
//       12      8  origin: the NodeId of the sender, not 0                              fixed in every version
//       20      8  destination: a NodeId, or 0 for everybody                            fixed in every version
//       28         the body, by type
//
// A right magic and checksum with another version is `other_version`; anything else that is wrong is `malformed`, as is
// an unknown type. So a new type needs a new major version, since old nodes could not know what it would cost to miss
// it; unless it goes only to who has asked for it in a way that old nodes never do, as the welcome does.
//
// Nodes of before the welcome and of after it work together: to a hello the former send a heartbeat each, as ever, the
// latter one welcome, if the hello has its field; to whoever asks without it, the latter send heartbeats, too. Where an
// old node gets a welcome all the same (everybody's, or on Kafka, where all share a topic), it counts an invalid frame
// and no more. A node that joins learns of old nodes by the welcome or by their answers, as before.
//
// EVENTS (events_frame.hpp)
//
//       28      8  sequence, from 1
//       36         fields
//      (37)        events until the end, each:
//                    1       bits 0-3 and 7: kind: 0 invalidate, 1 set, 2 remove, 3 lease revoked, 4 resync (top)
//                            bit 4: a version follows; bit 5: awaited; bit 6: an extension follows
//                    varint  length of the key, at most 16 MiB; 0 for a resync and for nothing else known
//                    n       the key; of a revoked lease its id
//                    varint  the version, if bit 4
//                    1       the cause, if the kind is resync: 0 overflow, 1 unrepairable, 2 peer_lost, 3 interrupted,
//                            4 joined, 5 incompatible, 6 requested
//                    varint  length of the extension, if bit 6, and its bytes: skipped
//
// An event of any other kind has the layout of an invalidate, with any key length, and reads as a resync with cause
// incompatible; so does a resync of unknown cause. An event's index, which acknowledgements name, counts from 0.
//
// HEARTBEAT (heartbeat_frame.hpp)
//
//       28      1  bit 0: answer me; bit 1: goodbye; bit 2: publish only; bit 3: moved to another broker; bit 4:
//                  observer; bit 5: greets, which is: answers hellos with a welcome; bit 6: another node has the
//                  sender's id, too; others are ignored
//       29 varint  number of this heartbeat
//          varint  sequence of the sender's newest events frame; 0: none yet
//          varint  oldest sequence that it can repair; the newest + 1: none
//          varint  microseconds until its next heartbeat; more than a day reads as a day
//          string  name
//          string  zone
//               8  origin of the newest heartbeat that the sender received, 0: none
//          varint  number of that heartbeat
//                  fields, then the end. Tag 1, a varint: how many frames beyond the newest hold events that the sender
//                  has accepted already; 2^64 - 1: some have no sequence yet. Without it: none. Tag 2, a varint: the
//                  number of this hello, from 1: the sender joins and wants a welcome. Tag 3, 8 bytes: the place
//                  where the sender is, a number that all who are there know; without it, or 0: not known
//
// ACKNOWLEDGEMENT (acknowledgement_frame.hpp): answers, and questions (status 4), in any mixture
//
//       28         fields
//                  entries until the end, at least one, each:
//                    1       bits 0-3: status: 0 applied, 1 no matching subscriber, 2 pending, 3 failed, 4 requested;
//                            an unknown one reads as pending. Bit 4: a publisher follows; bit 5: a count follows;
//                            bit 6: an extension follows; bit 7 is ignored
//                    8       the publisher of the events, not 0, if bit 4; else that of the entry before
//                    varint  sequence of their frame, from 1
//                    varint  index of the first of them
//                    varint  how many, from 1, if bit 5; else 1. index + count is at most 32 Mi
//                    varint  length of the extension, if bit 6, and its bytes: skipped
//
// REPAIR REQUEST (repair_frames.hpp)
//
//       28      8  the publisher whose frames are asked for, not 0
//       36         fields
//                  ranges of sequences until the end, 1 to 64, each:
//                    varint  sequences between the range before (the first time: 0) and this one
//                    varint  sequences in this one, less one
//
// REPAIR (repair_frames.hpp)
//
//       28         fields
//                  a whole broadcast events frame until the end, header and checksum included, as it was first sent
//
// WELCOME (welcome_frame.hpp), of one frame or several, to who said hello, or to everybody if those are many
//
//       28      8  number of this welcome, among those of its sender
//       36      2  how many frames it is, 1 to 4,096
//       38      2  which of them this is, from 0
//       40         fields
//                  nodes until the end, at least one, the sender among those of a whole welcome, each:
//                    8       its NodeId, not 0
//                    1       bit 2: publish only; bit 4: observer; bit 5: greets; bit 6: how far it is is not known;
//                            others are ignored
//                    varint  number of its newest heartbeat that the sender has received; 0: none, and bits, oldest,
//                            interval, name and zone say nothing
//                    varint  last sequence of its events frames that the sender has received
//                    varint  oldest sequence that it can repair; 0: not known
//                    varint  microseconds of the interval that it announced; more than a day reads as a day
//                    string  name
//                    string  zone
//                            fields. Tag 1, 8 bytes: its place, as its heartbeat said
#pragma once

#include <syncbus/core/wire/acknowledgement_frame.hpp>
#include <syncbus/core/wire/crc32c.hpp>
#include <syncbus/core/wire/events_frame.hpp>
#include <syncbus/core/wire/frame_header.hpp>
#include <syncbus/core/wire/heartbeat_frame.hpp>
#include <syncbus/core/wire/repair_frames.hpp>
#include <syncbus/core/wire/welcome_frame.hpp>
#include <syncbus/core/wire/wire.hpp>

namespace syncbus::inline v1::core {

/// Decodes a body and gives it to `take`; false: it is no valid one.
template <class View, class Take>
[[nodiscard]] bool read_body(const FrameHeader& header, FrameError (*decode)(const FrameHeader&, View&) noexcept,
                             const Take& take) {
  View view;
  if (decode(header, view) != FrameError::ok) return false;
  take(view);
  return true;
}

}  // namespace syncbus::inline v1::core
