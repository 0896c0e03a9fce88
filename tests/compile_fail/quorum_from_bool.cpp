// expect: no viable conversion from|conversion from .const bool. to non-scalar type
// A flag is no number of replicas.
#include <syncbus/quorum.hpp>

int main() {
  const bool durable = true;
  const syncbus::Quorum quorum = durable;
}
