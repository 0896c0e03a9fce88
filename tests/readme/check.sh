#!/bin/sh
# Checks that every C++ snippet of the README is a region of an example, byte for byte but for the indentation, so that it
# compiles and runs; and that every region is shown. Usage: check.sh [the repository's root]
#
# An example marks a region with lines `// [readme: NAME]` and `// [end]`. Regions of one name in a file are parts of one
# snippet, with an empty line between them. The README says before the snippet: <!-- examples/FILE NAME -->
set -eu
cd "${1:-$(dirname "$0")/../..}"

exec awk '
  function complain(what) { printf "%s\n", what; failed = 1 }

  function close_part(   i, indent, text) {
    indent = 1000
    for (i = 1; i <= lines; ++i)
      if (match(line[i], /[^ ]/) && RSTART - 1 < indent) indent = RSTART - 1
    for (i = 1; i <= lines; ++i) text = text substr(line[i], indent + 1) "\n"
    if (name in region) text = region[name] "\n" text
    region[name] = text
    name = ""
  }

  FILENAME != "README.md" && /^ *\/\/ \[readme: [a-z_]+\]$/ {
    if (name != "") complain(FILENAME ":" FNR ": a region within " name)
    name = $0
    sub(/^.*readme: /, FILENAME " ", name)
    sub(/\]$/, "", name)
    lines = 0
    next
  }
  FILENAME != "README.md" && /^ *\/\/ \[end\]$/ { close_part(); next }
  FILENAME != "README.md" { if (name != "") line[++lines] = $0; next }

  /^```cpp$/ {
    shown = previous
    if (!sub(/^<!-- /, "", shown) || !sub(/ -->$/, "", shown)) complain("README.md:" FNR ": a snippet of no example")
    inside = FNR
    snippet = ""
    next
  }
  inside && /^```$/ {
    if (!(shown in region)) complain("README.md:" inside ": there is no region " shown)
    else if (region[shown] != snippet)
      complain("README.md:" inside ": differs from " shown ", which is\n" region[shown])
    used[shown] = 1
    inside = 0
  }
  inside { snippet = snippet $0 "\n" }
  { previous = $0 }

  END {
    if (name != "") complain(name " has no end")
    for (each in region) {
      ++count
      if (!(each in used)) complain("README.md does not show " each)
    }
    if (!count) complain("no example has a region")
    exit failed
  }
' examples/*.hpp examples/*.cpp README.md
