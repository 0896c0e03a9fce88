#!/bin/sh
# Checks what the README, the pages of examples/guide and those beside the headers say against the tree:
#   - every C++ snippet is a region of an example, byte for byte but for the indentation, so that it compiles and runs;
#     and every region is shown on a page;
#   - every link between the pages and into the tree leads to something, its anchor to a heading; so does every picture,
#     and every path of the tree that stands in `code`;
#   - every sentence that is quoted as **"..."** is one that the library says;
#   - a link leads to every page of the guide, and no line but those of tables and addresses has more than 120
#     columns.
# Usage: check.sh [the repository's root]
#
# An example marks a region with lines `// [readme: NAME]` and `// [end]`. Regions of one name in a file are parts of one
# snippet, with an empty line between them. A page says before the snippet: <!-- examples/FILE NAME -->
set -eu
export LC_ALL=C
cd "${1:-$(dirname "$0")/../..}"

guide=$(find examples/guide -name '*.md' | sort)
pages="README.md $guide $(find include -name '*.md' | sort)"

snippets() {
  awk '
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

    FNR == 1 {
      if (name != "") complain(name " has no end")
      name = ""
      page = FILENAME ~ /\.md$/
    }

    !page && /^ *\/\/ \[readme: [a-z_]+\]$/ {
      if (name != "") complain(FILENAME ":" FNR ": a region within " name)
      name = $0
      sub(/^.*readme: /, FILENAME " ", name)
      sub(/\]$/, "", name)
      lines = 0
      next
    }
    !page && /^ *\/\/ \[end\]$/ { close_part(); next }
    !page { if (name != "") line[++lines] = $0; next }

    /^```cpp$/ {
      shown = previous
      if (!sub(/^<!-- /, "", shown) || !sub(/ -->$/, "", shown)) complain(FILENAME ":" FNR ": a snippet of no example")
      inside = FNR
      snippet = ""
      next
    }
    inside && /^```$/ {
      if (!(shown in region)) complain(FILENAME ":" inside ": there is no region " shown)
      else if (region[shown] != snippet)
        complain(FILENAME ":" inside ": differs from " shown ", which is\n" region[shown])
      used[shown] = 1
      inside = 0
    }
    inside { snippet = snippet $0 "\n" }
    { previous = $0 }

    END {
      for (each in region) {
        ++count
        if (!(each in used)) complain("no page shows " each)
      }
      if (!count) complain("no example has a region")
      exit failed
    }
  ' examples/*.hpp examples/*.cpp $pages
}

# The anchors that a page has, as GitHub makes them, one a line behind the name of the page.
anchors() {
  awk '
    FNR == 1 { fenced = 0; split("", seen) }
    /^ *```/ { fenced = !fenced }
    !fenced && /^#+ / {
      text = tolower($0)
      sub(/^#+ +/, "", text)
      gsub(/\]\([^)]*\)/, "", text)
      gsub(/[^a-z0-9 _\200-\377-]/, "", text)
      gsub(/ /, "-", text)
      print FILENAME "#" text (seen[text]++ ? "-" seen[text] - 1 : "")
    }
  ' $pages
}

# Every link and picture outside of code: the page, its line, the target. A link stands on one line. Of one by a name,
# [text][name], the target is where the page defines the name.
links() {
  awk '
    FNR == 1 { fenced = 0 }
    /^ *```/ { fenced = !fenced }
    fenced { next }
    /^\[[^\]]*\]: / {
      name = substr($1, 2, length($1) - 3)
      defined[FILENAME " " name] = 1
      print FILENAME, FNR, $2
      next
    }
    {
      text = $0
      gsub(/`[^`]*`/, "code", text)
      rest = text
      while (match(rest, /\]\([^)]*\)/)) {
        print FILENAME, FNR, substr(rest, RSTART + 2, RLENGTH - 3)
        rest = substr(rest, RSTART + RLENGTH)
      }
      rest = text
      while (match(rest, /\]\[[^]]*\]/)) {
        named[FILENAME " " substr(rest, RSTART + 2, RLENGTH - 3)] = FNR
        rest = substr(rest, RSTART + RLENGTH)
      }
      rest = text
      while (match(rest, /(href|src|srcset)="[^"]*"/)) {
        target = substr(rest, RSTART, RLENGTH - 1)
        sub(/^[a-z]*="/, "", target)
        print FILENAME, FNR, target
        rest = substr(rest, RSTART + RLENGTH)
      }
    }
    END {
      for (each in named) {
        split(each, of, " ")
        if (!(each in defined)) print of[1], named[each], "[" of[2] "]"
      }
    }
  ' $pages
}

# Paths of the tree in `code`: the page, its line, the path.
paths() {
  awk '
    FNR == 1 { fenced = 0 }
    /^ *```/ { fenced = !fenced }
    fenced { next }
    {
      rest = $0
      while (match(rest, /`(include|tests|examples|cmake)\/[A-Za-z0-9_.\/-]*/)) {
        print FILENAME, FNR, substr(rest, RSTART + 1, RLENGTH - 1)
        rest = substr(rest, RSTART + RLENGTH)
      }
      rest = $0
      while (match(rest, /`syncbus\/[A-Za-z0-9_.\/-]*/)) {
        print FILENAME, FNR, "include/" substr(rest, RSTART + 1, RLENGTH - 1)
        rest = substr(rest, RSTART + RLENGTH)
      }
    }
  ' $pages
}

# Quoted sentences, which may be broken over lines: the page, then the sentence.
sentences() {
  for page in $pages; do
    tr '\n' ' ' < "$page" | sed 's/  */ /g' | awk -v page="$page" '{
      rest = $0
      while (match(rest, /\*\*"[^"]*"\*\*/)) {
        print page " " substr(rest, RSTART + 3, RLENGTH - 6)
        rest = substr(rest, RSTART + RLENGTH)
      }
    }'
  done
}

wide() {
  awk '
    {
      text = $0
      gsub(/[\200-\277]/, "", text)  # of a character of several bytes the first counts
    }
    length(text) > 120 && !/^ *\|/ && !/^\[[a-z]*\]: / { print FILENAME ":" FNR ": more than 120 columns" }
  ' $pages
}

anchors=$(anchors)
links=$(links)
paths=$(paths)
sentences=$(sentences)

complaints=$(
  snippets || true

  linked=" README.md "
  while read -r page line target; do
    case "$target" in
      '') continue ;;
      *://* | mailto:*) continue ;;
      '#'*) file=$page anchor=${target#?} ;;
      *'#'*) file=$(dirname "$page")/${target%%#*} anchor=${target#*#} ;;
      *) file=$(dirname "$page")/$target anchor= ;;
    esac
    if [ ! -e "$file" ]; then
      echo "$page:$line: there is no $target"
      continue
    fi
    file=$(realpath --relative-to=. "$file")
    case "$file" in ../*) echo "$page:$line: $target is outside of the tree" ;; esac
    [ "$page" = "$file" ] || linked="$linked$file "
    [ -z "$anchor" ] && continue
    printf '%s\n' "$anchors" | grep -qxF -e "$file#$anchor" || echo "$page:$line: there is no heading $target"
  done << END
$links
END
  for page in $guide; do
    case "$linked" in *" $page "*) ;; *) echo "no page leads to $page" ;; esac
  done

  while read -r page line path; do
    [ -z "$path" ] || [ -e "$path" ] || echo "$page:$line: there is no $path"
  done << END
$paths
END

  # Literals that stand next to each other are one sentence.
  said=$(find include -name '*.hpp' -exec cat {} + | tr '\n' ' ' | sed 's/" *"//g')
  while read -r page sentence; do
    case "$said" in *"$sentence"*) ;; *) echo "$page: the library does not say \"$sentence\"" ;; esac
  done << END
$sentences
END

  wide
)
[ -z "$complaints" ] || { printf '%s\n' "$complaints"; exit 1; }
