// expect first: the second
// A case whose expected diagnostic comes, but behind another.
static_assert(false, "the first");
static_assert(false, "the second");
