# Describes one broker: the target syncbus::<name>, its headers, its C client, and what is installed for it.
include("${CMAKE_CURRENT_LIST_DIR}/syncbus_find_client.cmake")

# syncbus_add_component(<name> CLIENT <c> PKG_CONFIG <module> HEADER <file> LIBRARY <name> PACKAGE <Debian package>)
#
# Takes <name>_bus.hpp and the folder transport/<name>/ out of `syncbus_headers`. The option SYNCBUS_<NAME> says whether
# the component is wanted: ON stops when the client is missing, OFF leaves it out, AUTO (the default) takes it when the
# client is there. With AUTO and no client the core still configures, and a test fails with the sentence that is kept in
# the global property `syncbus_missing`: tests that did not run must not look like tests that passed.
function(syncbus_add_component name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "CLIENT;PKG_CONFIG;HEADER;LIBRARY;PACKAGE" "")

  set(own "/syncbus/(${name}_bus\\.hpp|transport/${name}/[^/]*\\.hpp)$")
  set(headers ${syncbus_headers})
  list(FILTER headers INCLUDE REGEX "${own}")
  list(FILTER syncbus_headers EXCLUDE REGEX "${own}")
  set(syncbus_headers ${syncbus_headers} PARENT_SCOPE)

  set_property(GLOBAL APPEND PROPERTY syncbus_brokers ${name})
  string(TOUPPER "SYNCBUS_${name}" option)
  set(${option} AUTO CACHE STRING "The component ${name}, which needs ${arg_CLIENT}: ON, OFF or AUTO")
  set_property(CACHE ${option} PROPERTY STRINGS AUTO ON OFF)
  if(NOT ${option})
    return()
  endif()

  syncbus_find_client(${arg_CLIENT} PKG_CONFIG ${arg_PKG_CONFIG} HEADER ${arg_HEADER} LIBRARY ${arg_LIBRARY})
  if(NOT TARGET syncbus::${arg_CLIENT})
    string(CONCAT sentence "syncbus::${name} needs ${arg_CLIENT}, which was not found: "
      "install it (Debian: ${arg_PACKAGE}) or set ${option}=OFF")
    if(NOT ${option} STREQUAL "AUTO")
      message(FATAL_ERROR "${sentence}")
    elseif(PROJECT_IS_TOP_LEVEL)
      message(WARNING "${sentence}")
    endif()
    set_property(GLOBAL APPEND PROPERTY syncbus_missing "${sentence}")
    return()
  endif()

  add_library(syncbus_${name} INTERFACE)
  add_library(syncbus::${name} ALIAS syncbus_${name})
  set_target_properties(syncbus_${name} PROPERTIES
    EXPORT_NAME ${name} VERIFY_INTERFACE_HEADER_SETS ${PROJECT_IS_TOP_LEVEL})
  target_link_libraries(syncbus_${name} INTERFACE syncbus syncbus::${arg_CLIENT})
  target_sources(syncbus_${name} INTERFACE
    FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}/include" FILES ${headers})

  set_property(GLOBAL APPEND PROPERTY syncbus_components ${name})
  # What cmake/install.cmake writes into the component's package files.
  foreach(argument IN ITEMS CLIENT PKG_CONFIG HEADER LIBRARY PACKAGE)
    set_property(TARGET syncbus_${name} PROPERTY syncbus_${argument} "${arg_${argument}}")
  endforeach()
endfunction()

# syncbus_add_program(<name> <source>...): a program linked with the brokers whose bus its sources include. Not made
# when one of those is not built.
function(syncbus_add_program name)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${ARGN})
  get_property(brokers GLOBAL PROPERTY syncbus_brokers)
  set(libraries syncbus::syncbus)
  foreach(broker IN LISTS brokers)
    foreach(source IN LISTS ARGN)
      file(STRINGS "${source}" includes REGEX "^#include <syncbus/${broker}_bus\\.hpp>")
      if(includes)
        list(APPEND libraries syncbus::${broker})
        break()
      endif()
    endforeach()
  endforeach()

  foreach(library IN LISTS libraries)
    if(NOT TARGET ${library})
      message(STATUS "syncbus: ${name} is left out: it needs ${library}")
      return()
    endif()
  endforeach()
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE ${libraries})
endfunction()
