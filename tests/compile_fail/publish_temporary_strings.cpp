// expect: no matching (member )?function
// A range that makes a string for each element: the views that publish would gather from it would dangle.
#include <cstddef>
#include <iterator>
#include <string>

#include <syncbus/in_memory_bus.hpp>

struct Numbers {
  struct Iterator {
    using iterator_concept = std::forward_iterator_tag;
    using value_type = std::string;
    using difference_type = std::ptrdiff_t;

    int at = 0;

    std::string operator*() const { return std::to_string(at); }
    Iterator& operator++() { return ++at, *this; }
    Iterator operator++(int) { return {at++}; }
    friend bool operator==(Iterator, Iterator) = default;
  };

  Iterator begin() const { return {0}; }
  Iterator end() const { return {3}; }
};
static_assert(std::forward_iterator<Numbers::Iterator>);

int main() {
  syncbus::InMemoryBus bus;
  return bus.publish(Numbers{}) ? 1 : 0;
}
