// What fixtures over a broker do to it.
#include "contract/fixture.hpp"

#include <atomic>

#include "support/test_server.hpp"

namespace contract {

namespace {

std::string next_place(const std::string& prefix) {
  static std::atomic<int> number = 0;
  return prefix + std::to_string(++number);
}

}  // namespace

BrokerFixture::BrokerFixture(support::Broker& broker, const char* prefix)
    : broker_{broker}, place_{next_place(prefix)} {
  broker.revive();
}

void BrokerFixture::kill_broker() { broker_.kill(); }
void BrokerFixture::restart_broker() { broker_.start(); }

ServerFixture::ServerFixture(support::TestServer& server, const char* prefix)
    : BrokerFixture{server, prefix}, server_{server} {}

void ServerFixture::stop_broker() { server_.stop(); }
void ServerFixture::resume_broker() { server_.resume(); }

}  // namespace contract
