// Everything that needs no broker's client: the vocabulary, InMemoryBus and InMemoryHub, FillGuard.
#pragma once

#include <syncbus/version.hpp>
#include <syncbus/bus.hpp>
#include <syncbus/error.hpp>
#include <syncbus/event.hpp>
#include <syncbus/fill_guard.hpp>
#include <syncbus/in_memory_bus.hpp>
#include <syncbus/in_memory_hub.hpp>
#include <syncbus/mailbox.hpp>
#include <syncbus/metrics.hpp>
#include <syncbus/options.hpp>
#include <syncbus/quorum.hpp>
#include <syncbus/subscribe_once.hpp>
#include <syncbus/subscription.hpp>
