// For the driver's own test: a case that is refused for a reason that it does not name.
// expect: a reason that no compiler gives
int main() { return no_such_name; }
