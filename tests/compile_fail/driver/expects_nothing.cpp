// For the driver's own test: a case that does not say what it expects.
int main() { return no_such_name; }
