# The version stands in CMakeLists.txt and in version.hpp: refuses to configure when they drift apart.
set(syncbus_version_header "${PROJECT_SOURCE_DIR}/include/syncbus/version.hpp")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${syncbus_version_header}")

file(STRINGS "${syncbus_version_header}" lines REGEX "^#define SYNCBUS_VERSION_(MAJOR|MINOR|PATCH) ")
list(TRANSFORM lines REPLACE "^.* ([0-9]+)$" "\\1")
list(JOIN lines "." syncbus_header_version)
if(NOT syncbus_header_version STREQUAL PROJECT_VERSION)
  message(FATAL_ERROR "syncbus: CMakeLists.txt says version ${PROJECT_VERSION}, "
    "include/syncbus/version.hpp says ${syncbus_header_version}: change both")
endif()
