# cmake -DCOMPILER=… -DINCLUDES=… -DCASE=file.cpp -P refuses.cmake
# Succeeds when the compiler refuses the case with every diagnostic that its `// expect: <regular expression>` lines name,
# and with that of `// expect first: <regular expression>` in the first line that says error.
cmake_minimum_required(VERSION 3.25)

macro(fail reason)
  message(NOTICE "${CASE} ${reason}")
  message(FATAL_ERROR "not refused as expected")
endmacro()

file(STRINGS "${CASE}" expectations REGEX "^// expect: ")
file(STRINGS "${CASE}" expected_first REGEX "^// expect first: ")
if(NOT expectations AND NOT expected_first)
  fail("has no line `// expect: <regular expression>`")
endif()

list(REMOVE_DUPLICATES INCLUDES)
list(TRANSFORM INCLUDES PREPEND "-I")
set(ENV{LC_ALL} C)  # diagnostics in English, plain quotes
execute_process(COMMAND "${COMPILER}" -std=c++20 -fsyntax-only ${INCLUDES} "${CASE}"
  RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(status EQUAL 0)
  fail("compiles, and must not")
endif()

foreach(expectation IN LISTS expectations)
  string(REGEX REPLACE "^// expect: +" "" expectation "${expectation}")
  if(NOT output MATCHES "${expectation}")
    fail("is refused, but not with `${expectation}`:\n${output}")
  endif()
endforeach()

string(REGEX MATCH "[^\n]*error: [^\n]*" first "${output}")
foreach(expectation IN LISTS expected_first)
  string(REGEX REPLACE "^// expect first: +" "" expectation "${expectation}")
  if(NOT first MATCHES "${expectation}")
    fail("is refused, but not first with `${expectation}`:\n${output}")
  endif()
endforeach()
