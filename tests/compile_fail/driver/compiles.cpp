// For the driver's own test: a case that compiles.
// expect: .
int main() {}
