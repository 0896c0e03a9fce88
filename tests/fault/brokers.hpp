// The brokers that the faults of faults_test.cpp hit: one is added by a description like these, and here.
#pragma once

#include <tuple>

#include "fault/on_kafka.hpp"
#include "fault/on_nats.hpp"
#include "fault/on_redis.hpp"

namespace fault {

using Brokers = std::tuple<OnRedis, OnNats, OnKafka>;

}  // namespace fault
